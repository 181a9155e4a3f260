# Buildroot's part in a few stubs, to see what the recipe installs: targets/ci runs it, as Buildroot itself is not at hand.
#   make -f targets/buildroot/check.mk BOARD=NAME OUT=FOLDER
BR2_EXTERNAL_FRCNN_PATH := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
BR2_PACKAGE_FRCNN_BOARD = "$(BOARD)"
STAGING_DIR = $(OUT)/staging
TARGET_DIR = $(OUT)/target
INSTALL = install
qstrip = $(strip $(subst ",,$(1)))
generic-package =
include $(BR2_EXTERNAL_FRCNN_PATH)/external.mk

# $(@D) is where Buildroot has copied the site to.
$(FRCNN_SITE)/.installed: force
	$(FRCNN_INSTALL_STAGING_CMDS)
	$(FRCNN_INSTALL_TARGET_CMDS)

.PHONY: force
