include $(sort $(wildcard $(BR2_EXTERNAL_FRCNN_PATH)/package/*/*.mk))
