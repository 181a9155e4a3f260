"""What frcnn raises. The texts name the file or the field, and what to do; they are those of the command `frcnn`."""


class Error(Exception):
    """Whatever goes wrong."""


class BundleError(Error):
    """A bundle cannot be read, or is not a valid one."""


class ImageError(Error):
    """A picture cannot be read, or does not go through the network."""


class OptionError(Error, ValueError):
    """An argument is out of its range, or does not go with the bundle."""


class LimitError(Error):
    """More memory or time would be needed than the limits allow, or than there is."""


class CompileError(Error):
    """A model cannot be compiled."""


for _class in (Error, BundleError, ImageError, OptionError, LimitError, CompileError):
    _class.__module__ = "frcnn"
