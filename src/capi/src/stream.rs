//! Streams: sessions whose frames cost what has changed.

use frcnn::{StreamOptions, Tolerance};

use crate::model::FrcnnModel;
use crate::proposer::FrcnnProposer;
use crate::result::{Failure, FrcnnResult};
use crate::session::FrcnnSession;
use crate::sized::{self, Versioned};

/// Choices made when a stream is made. frcnn_stream_options_init sets the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnStreamOptions {
    /// sizeof(frcnn_stream_options).
    pub struct_size: usize,
    /// A frcnn_proposer.
    pub proposer: u32,
    /// Mean difference in grey levels, over one of the four quarters of a cell of 8 x 8 pixels, from which the cell is looked
    /// at anew; 0: any byte makes a difference. Negative, the default: what exceeds the noise of the camera, which is learned
    /// from its frames.
    pub tolerance: f32,
    /// MiB of feature maps that may be kept from frame to frame. With less, more is computed anew.
    pub reuse_mib: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnStreamOptions {
    const NAME: &'static str = "frcnn_stream_options";
    const FIRST_SIZE: usize = size_of::<FrcnnStreamOptions>();
}

/// What a stream has computed anew for its last frame. All is 0 if the network did not run: there was no box to look at.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnReuse {
    /// sizeof(frcnn_reuse).
    pub struct_size: usize,
    /// Cells of 8 x 8 pixels of the frame.
    pub cells: u64,
    /// Those that differed by more than the tolerance.
    pub cells_changed: u64,
    /// Distinct regions that were judged.
    pub rois: u64,
    /// Those of which the head's output was kept.
    pub rois_reused: u64,
    /// Bytes that the stream keeps from frame to frame.
    pub kept_bytes: u64,
    /// Share of the trunk's multiplications that were done anew, 0 to 1.
    pub trunk_share: f32,
    /// Grey levels that a cell may differ by in the next frame.
    pub tolerance: f32,
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnReuse {
    const NAME: &'static str = "frcnn_reuse";
    const FIRST_SIZE: usize = size_of::<FrcnnReuse>();
}

impl FrcnnReuse {
    fn of(reuse: &frcnn::Reuse) -> FrcnnReuse {
        FrcnnReuse {
            struct_size: size_of::<FrcnnReuse>(),
            cells: reuse.cells as u64,
            cells_changed: reuse.cells_changed as u64,
            rois: reuse.rois as u64,
            rois_reused: reuse.rois_reused as u64,
            kept_bytes: reuse.kept_bytes,
            trunk_share: reuse.trunk_share as f32,
            tolerance: reuse.tolerance,
        }
    }
}

impl FrcnnStreamOptions {
    fn defaults() -> FrcnnStreamOptions {
        let StreamOptions { tolerance, reuse_mib } = StreamOptions::default();
        FrcnnStreamOptions {
            struct_size: size_of::<FrcnnStreamOptions>(),
            proposer: FrcnnProposer::Model as u32,
            tolerance: match tolerance {
                Tolerance::Learned => -1.0,
                Tolerance::Fixed(levels) => levels,
            },
            reuse_mib,
            reserved: 0,
        }
    }

    fn checked(&self) -> Result<(FrcnnProposer, StreamOptions), Failure> {
        if self.reserved != 0 {
            let message = "frcnn_stream_options: `reserved` must be 0";
            return Err(Failure::new(FrcnnResult::InvalidArgument, message));
        }
        let tolerance = match self.tolerance {
            learned if learned < 0.0 => Tolerance::Learned,
            levels => Tolerance::Fixed(levels),
        };
        let options = StreamOptions { tolerance, reuse_mib: self.reuse_mib };
        Ok((FrcnnProposer::checked(self.proposer)?, options))
    }
}

/// Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_stream_options).
///
/// # Safety
/// `options` points at `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_stream_options_init(
    options: *mut FrcnnStreamOptions,
    struct_size: usize,
) -> FrcnnResult {
    guard!(options => {
        // SAFETY: says the caller.
        unsafe { sized::init(options, &FrcnnStreamOptions::defaults(), struct_size) }
    })
}

/// Makes a session for the frames of one fixed camera, in their order: a frame costs what has changed since the one before.
///
/// It is used like any other session; each camera has one of its own. It keeps the pixels of each cell of 8 x 8 that were last
/// looked at, and looks at a cell anew when it differs from them by more than the tolerance. What it detects is, bit for bit,
/// what frcnn_session_detect finds in the picture that these cells make; with a tolerance of 0 that is the frame itself.
/// frcnn_stream_reuse tells what was computed anew. After frcnn_model_reload, the first frame is computed as a whole.
///
/// `options` may be NULL for the defaults. `*stream`, to be freed by frcnn_session_free, is NULL unless the result is
/// FRCNN_RESULT_OK.
///
/// # Safety
/// `model` is valid, `options` NULL or valid, `stream` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_stream_new(
    model: *const FrcnnModel,
    options: *const FrcnnStreamOptions,
    stream: *mut *mut FrcnnSession,
) -> FrcnnResult {
    guard!(model, stream => {
        // SAFETY: says the caller.
        unsafe { *stream = std::ptr::null_mut() };
        let options = match options.is_null() {
            true => FrcnnStreamOptions::defaults(),
            // SAFETY: says the caller.
            false => unsafe { sized::read(options) }?,
        };
        let (proposer, options) = options.checked()?;
        // SAFETY: says the caller.
        let made = FrcnnSession::new(unsafe { &*model }, proposer, Some(options))?;
        // SAFETY: says the caller.
        unsafe { *stream = Box::into_raw(Box::new(made)) };
        Ok(())
    })
}

/// Tells what was computed anew for the last frame that frcnn_session_detect or frcnn_session_poll gave a result of. Of a
/// session that frcnn_session_new made, all is 0.
///
/// # Safety
/// `stream` is valid, `reuse` writable with its `struct_size` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_stream_reuse(
    stream: *const FrcnnSession,
    reuse: *mut FrcnnReuse,
) -> FrcnnResult {
    guard!(stream, reuse => {
        // SAFETY: says the caller.
        unsafe {
            let facts = (*stream).facts();
            sized::write(reuse, &FrcnnReuse::of(&facts.reuse.unwrap_or_default()))
        }
    })
}
