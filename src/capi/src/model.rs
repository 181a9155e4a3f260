//! `frcnn_model`: a detector that threads share and that can be exchanged while they work.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use frcnn::{Bundle, Detector, F32Products, Limits, Options, Tuning};

use crate::result::{Failure, FrcnnResult};
use crate::sized::{self, Versioned};
use crate::slot::Slot;
use crate::sync::Arc;

/// A trained network that is ready to run. It may be used by any number of threads at once, and freed by one of them
/// once no other uses it; sessions keep what they need of it.
pub struct FrcnnModel {
    pub(crate) slot: Arc<Slot<Detector>>,
    options: Options,
}

/// Choices made when a model is opened; they also hold for what it is reloaded from. frcnn_model_options_init sets
/// every field to "as the bundle says".
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnModelOptions {
    /// sizeof(frcnn_model_options).
    pub struct_size: usize,
    /// Threads that work on one frame; 0 for as many as there are physical cores.
    pub threads: u32,
    /// Detections per image at most, 1 to FRCNN_MAX_DETECTIONS; 0 for the bundle's.
    pub max_detections: u32,
    /// Detections have a greater score; at least 0 and below 1, or any number where scores are margins. -INFINITY for
    /// the bundle's.
    pub score_threshold: f32,
    /// IoU from which a better detection of a class suppresses another; above 0 and at most 1, or negative for the
    /// bundle's.
    pub nms_iou: f32,
    /// What a bundle may ask for on one frame, times the defaults of 3 GiB of memory, 4e12 operations and 1000 layers; 0 for 1.
    /// One that asks for more is refused with FRCNN_RESULT_BUNDLE, a frame that does with FRCNN_RESULT_IMAGE_SIZE.
    pub max_cost: f64,
    /// A frcnn_f32_products.
    pub f32_products: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Bytes that the model and a session may take at their peak, with a 4:3 photo and 2000 boxes; 0 for no bound but that of
    /// max_cost. Convolutions that lose least by it get algorithms with fewer weights.
    pub memory: u64,
}

/// How fully connected layers with f32 or f16 weights multiply.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnF32Products {
    /// Where the CPU has AMX, as three bf16 products each: faster, and as accurate over a layer's sums. Elsewhere as EXACT,
    /// bit by bit.
    Bf16x3 = 0,
    /// In f32 on every CPU.
    Exact = 1,
}

impl FrcnnF32Products {
    fn from_number(number: u32) -> Option<F32Products> {
        let all = [(Self::Bf16x3, F32Products::Bf16x3), (Self::Exact, F32Products::Exact)];
        all.into_iter().find(|(how, _)| *how as u32 == number).map(|(_, products)| products)
    }
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnModelOptions {
    const NAME: &'static str = "frcnn_model_options";
    const FIRST_SIZE: usize = std::mem::offset_of!(FrcnnModelOptions, max_cost);
}

impl FrcnnModel {
    /// Loads `path`, or the file it came from; on failure everything stays.
    fn reload(&self, path: Option<PathBuf>) -> Result<(), Failure> {
        let path = path.or_else(|| self.slot.loaded().path).ok_or_else(|| {
            Failure::new(
                FrcnnResult::InvalidArgument,
                "the model was opened from memory: reload it from a path",
            )
        })?;
        // Frames go on while the new one is made ready.
        let detector = open(&path, &self.options)?;
        let generation = self.slot.put(detector, path.clone());
        // Without a lock: a caller's log may ask the model.
        log::info!("{}: model generation {generation}", path.display());
        Ok(())
    }
}

fn open(path: &Path, options: &Options) -> Result<Detector, Failure> {
    let bundle = Bundle::open(path).map_err(|error| match error {
        error @ frcnn_bundle::Error::Io { .. } => Failure::new(FrcnnResult::Io, error.to_string()),
        other => Failure::new(FrcnnResult::Bundle, format!("{}: {other}", path.display())),
    })?;
    let tuning = Tuning::beside(path).unwrap_or_else(|problem| {
        log::warn!("{}: {problem}; it is not used", Tuning::path(path).display());
        None
    });
    let options = Options { tuning, ..options.clone() };
    make(bundle, &options).map_err(|failure| failure.of(path))
}

/// A bundle that asks for too much is at fault itself here; of a frame it is the size.
fn make(bundle: Bundle, options: &Options) -> Result<Detector, Failure> {
    Detector::new(bundle, options).map_err(|error| match error {
        frcnn::Error::Limit(excess) => Failure::new(FrcnnResult::Bundle, excess.to_string()),
        other => Failure::from(other),
    })
}

/// # Safety
/// NULL or a structure as `sized::read` wants it.
unsafe fn options(options: *const FrcnnModelOptions) -> Result<Options, Failure> {
    if options.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: says the caller.
    let FrcnnModelOptions {
        struct_size: _,
        threads,
        max_detections,
        score_threshold,
        nms_iou,
        max_cost,
        f32_products,
        reserved,
        memory,
    } = unsafe { sized::read(options) }?;
    let refused = |problem: String| Failure::new(FrcnnResult::InvalidArgument, problem);
    if reserved != 0 {
        return Err(refused("frcnn_model_options: `reserved` must be 0".to_string()));
    }
    let f32_products = FrcnnF32Products::from_number(f32_products)
        .ok_or_else(|| refused(format!("{f32_products} is no way to multiply f32 values")))?;
    // NaN is neither, and refused as every other value out of range.
    let bundles = |value: f32, is: bool| if is { None } else { Some(value) };
    let unless_zero = |value: u32| (value != 0).then_some(value as usize);
    let limits = match max_cost {
        0.0 => Limits::default(),
        factor if factor > 0.0 => Limits::times(factor),
        _ => return Err(refused("max_cost must be at least 0".to_string())),
    };
    Ok(Options {
        threads: unless_zero(threads),
        max_detections: unless_zero(max_detections),
        score_threshold: bundles(score_threshold, score_threshold == f32::NEG_INFINITY),
        nms_iou: bundles(nms_iou, nms_iou < 0.0),
        f32_products,
        memory: (memory != 0).then_some(memory),
        tuning: None,
        limits,
    })
}

/// # Safety
/// `path` is a C string.
unsafe fn path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: says the caller.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// A model of a bundle that is no file.
fn from_memory(
    bundle: Result<Bundle, frcnn::BundleError>,
    options: Options,
) -> Result<*mut FrcnnModel, Failure> {
    let detector = make(bundle.map_err(frcnn::Error::from)?, &options)?;
    Ok(boxed(detector, None, options))
}

fn boxed(detector: Detector, path: Option<PathBuf>, options: Options) -> *mut FrcnnModel {
    Box::into_raw(Box::new(FrcnnModel { slot: Slot::new(detector, path), options }))
}

/// Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_model_options).
///
/// # Safety
/// `options` points at `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_options_init(
    options: *mut FrcnnModelOptions,
    struct_size: usize,
) -> FrcnnResult {
    guard!(options => {
        let defaults = FrcnnModelOptions {
            struct_size,
            threads: 0,
            max_detections: 0,
            score_threshold: f32::NEG_INFINITY,
            nms_iou: -1.0,
            max_cost: 0.0,
            f32_products: FrcnnF32Products::Bf16x3 as u32,
            reserved: 0,
            memory: 0,
        };
        // SAFETY: says the caller.
        unsafe { sized::init(options, &defaults, struct_size) }
    })
}

/// Opens the bundle at `path`, a `.frcnn` file that `frcnn compile` wrote. `options` may be NULL for the defaults.
/// `*model`, to be freed by frcnn_model_free, is NULL unless the result is FRCNN_RESULT_OK.
///
/// # Safety
/// `path` is a C string, `options` NULL or valid, `model` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_open(
    path: *const c_char,
    options: *const FrcnnModelOptions,
    model: *mut *mut FrcnnModel,
) -> FrcnnResult {
    guard!(path, model => {
        // SAFETY: says the caller.
        let (path, options) = unsafe {
            *model = std::ptr::null_mut();
            (self::path(path), self::options(options)?)
        };
        let detector = open(path, &options)?;
        log::info!("{}: opened, {} threads", path.display(), detector.threads());
        // SAFETY: says the caller.
        unsafe { *model = boxed(detector, Some(path.to_path_buf()), options) };
        Ok(())
    })
}

/// The same for a bundle in memory, which is copied.
///
/// # Safety
/// `size` bytes are readable at `bytes`; `options` is NULL or valid, `model` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_open_bytes(
    bytes: *const u8,
    size: usize,
    options: *const FrcnnModelOptions,
    model: *mut *mut FrcnnModel,
) -> FrcnnResult {
    guard!(bytes, model => {
        // SAFETY: says the caller.
        unsafe { *model = std::ptr::null_mut() };
        check_size(size)?;
        // SAFETY: says the caller; not NULL and not too long.
        let (bytes, options) = unsafe { (std::slice::from_raw_parts(bytes, size), self::options(options)?) };
        let opened = from_memory(Bundle::from_bytes(bytes), options)?;
        // SAFETY: says the caller.
        unsafe { *model = opened };
        Ok(())
    })
}

/// The same for a bundle that is part of the program, as `frcnn compile --emit c` makes one: its bytes are borrowed and must
/// stay where and as they are until the program ends, also after frcnn_model_free. Weights are read where they lie, at an
/// address that is a multiple of 4; elsewhere they are copied. Biases are used there; weights of convolutions and fully
/// connected layers are packed for this CPU, so that one packed copy of them is in memory.
///
/// # Safety
/// `size` bytes are readable at `bytes` and never change; `options` is NULL or valid, `model` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_open_static(
    bytes: *const u8,
    size: usize,
    options: *const FrcnnModelOptions,
    model: *mut *mut FrcnnModel,
) -> FrcnnResult {
    guard!(bytes, model => {
        // SAFETY: says the caller.
        unsafe { *model = std::ptr::null_mut() };
        check_size(size)?;
        // SAFETY: says the caller, for as long as the program runs; not NULL and not too long.
        let (bytes, options): (&'static [u8], _) =
            unsafe { (std::slice::from_raw_parts(bytes, size), self::options(options)?) };
        let opened = from_memory(Bundle::from_static(bytes), options)?;
        // SAFETY: says the caller.
        unsafe { *model = opened };
        Ok(())
    })
}

fn check_size(size: usize) -> Result<(), Failure> {
    let too_large = |_| Failure::new(FrcnnResult::InvalidArgument, "`size` is more than memory has");
    isize::try_from(size).map(|_| ()).map_err(too_large)
}

/// Frees a model; NULL is passed over. Its sessions go on.
///
/// # Safety
/// `model` is NULL or from a function of this library that opens one, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_free(model: *mut FrcnnModel) {
    // The result says only that a NULL was passed over.
    let _ = guard!(model => {
        // SAFETY: says the caller.
        drop(unsafe { Box::from_raw(model) });
        Ok(())
    });
}

/// Loads the bundle at `path` in place of the present one; NULL for the path that the model came from last. Takes as
/// long as opening; other threads detect meanwhile, and every session takes up the new model with its next frame. If
/// it fails, the present one stays.
///
/// # Safety
/// `model` is valid, `path` NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_reload(model: *const FrcnnModel, path: *const c_char) -> FrcnnResult {
    guard!(model => {
        // SAFETY: says the caller.
        let path = (!path.is_null()).then(|| unsafe { self::path(path) }.to_path_buf());
        // SAFETY: says the caller.
        unsafe { &*model }.reload(path)
    })
}

/// 1 for a model as it was opened, and one more for each reload that succeeded.
///
/// # Safety
/// `model` is valid, `generation` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_generation(
    model: *const FrcnnModel,
    generation: *mut u64,
) -> FrcnnResult {
    guard!(model, generation => {
        // SAFETY: says the caller.
        unsafe { *generation = (*model).slot.generation() };
        Ok(())
    })
}

/// The number of classes, the background (class 0) counted.
///
/// # Safety
/// `model` is valid, `count` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_class_count(model: *const FrcnnModel, count: *mut usize) -> FrcnnResult {
    guard!(model, count => {
        // SAFETY: says the caller.
        unsafe { *count = (*model).slot.loaded().detector.manifest().classes.len() };
        Ok(())
    })
}

/// Whether the model has a region proposal network (RPN), by which it proposes boxes itself: 1 if so, else 0. A session made
/// with the default options then lets it.
///
/// # Safety
/// `model` is valid, `has_rpn` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_has_rpn(model: *const FrcnnModel, has_rpn: *mut u32) -> FrcnnResult {
    guard!(model, has_rpn => {
        // SAFETY: says the caller.
        unsafe { *has_rpn = (*model).slot.loaded().detector.has_rpn().into() };
        Ok(())
    })
}

/// Writes the name of a class, in UTF-8 and with its NUL, to `name`, which has room for `size` bytes; a longer name is
/// cut and gives FRCNN_RESULT_BUFFER_TOO_SMALL. A class that does not exist gives FRCNN_RESULT_INVALID_ARGUMENT.
///
/// # Safety
/// `model` is valid, `size` bytes are writable at `name`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_model_class_name(
    model: *const FrcnnModel,
    class_id: u32,
    name: *mut c_char,
    size: usize,
) -> FrcnnResult {
    guard!(model, name => {
        if size == 0 {
            return Err(Failure::new(FrcnnResult::InvalidArgument, "`size` is 0"));
        }
        // SAFETY: says the caller.
        let detector = unsafe { &*model }.slot.loaded().detector;
        let classes = &detector.manifest().classes;
        let class = classes.get(class_id as usize).map_or("", String::as_str);
        let written = class.floor_char_boundary(size - 1);
        // SAFETY: `written` and the NUL are at most `size` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(class.as_ptr().cast(), name, written);
            *name.add(written) = 0;
        }
        if class_id as usize >= classes.len() {
            let message = format!("class {class_id} does not exist: there are {}", classes.len());
            return Err(Failure::new(FrcnnResult::InvalidArgument, message));
        }
        if written < class.len() {
            let message = format!("the name `{class}` needs {} bytes", class.len() + 1);
            return Err(Failure::new(FrcnnResult::BufferTooSmall, message));
        }
        Ok(())
    })
}
