################################################################################
#
# frcnn, as `targets/build BOARD` has made it for the board:
#
#   targets/build raspberry-pi-4
#   make BR2_EXTERNAL=.../frcnn/targets/buildroot menuconfig      # BR2_PACKAGE_FRCNN, and the board's name
#
################################################################################

FRCNN_VERSION = 0.1.0
FRCNN_SITE = $(BR2_EXTERNAL_FRCNN_PATH)/../../target/boards/$(call qstrip,$(BR2_PACKAGE_FRCNN_BOARD))
FRCNN_SITE_METHOD = local
FRCNN_LICENSE = MIT or Apache-2.0
FRCNN_INSTALL_STAGING = YES

define FRCNN_INSTALL_STAGING_CMDS
	mkdir -p $(STAGING_DIR)/usr
	cp -dR $(@D)/include $(@D)/lib $(STAGING_DIR)/usr/
endef

define FRCNN_INSTALL_TARGET_CMDS
	mkdir -p $(TARGET_DIR)/usr/lib
	cp -d $(@D)/lib/libfrcnn.so.* $(TARGET_DIR)/usr/lib/
	$(foreach program,$(wildcard $(@D)/bin/*),$(INSTALL) -D -m 0755 $(program) $(TARGET_DIR)/usr/bin/$(notdir $(program))
	)
endef

$(eval $(generic-package))
