//! Which library this is.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

/// The version of this header. A program runs with a library whose frcnn_abi_version() is the same.
pub const FRCNN_ABI_VERSION: u32 = 1;

/// No image has more detections than this.
pub const FRCNN_MAX_DETECTIONS: usize = 512;
const _: () = assert!(FRCNN_MAX_DETECTIONS == frcnn::MAX_DETECTIONS);

/// The FRCNN_ABI_VERSION that the library was built with.
#[unsafe(no_mangle)]
pub extern "C" fn frcnn_abi_version() -> u32 {
    let mut version = 0;
    guard!(=> {
        version = FRCNN_ABI_VERSION;
        Ok(())
    });
    version
}

/// The library's release, such as `"0.1.0"`. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn frcnn_version() -> *const c_char {
    static VERSION: OnceLock<CString> = OnceLock::new();
    let mut version = c"".as_ptr();
    guard!(=> {
        version = VERSION.get_or_init(|| CString::new(env!("CARGO_PKG_VERSION")).unwrap_or_default()).as_ptr();
        Ok(())
    });
    version
}
