//! The border to Python: the module, and the one function that it has.
//!
//! ```text
//! call(operation: str, arguments: str, *arrays) -> (str, *bytearray)      or (class of the error: str, text: str, None)
//! ```
//! All `unsafe` of this crate stands here.
#![allow(unsafe_code, reason = "this is the border to Python; each block says why it is sound")]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use pyo3_ffi::{
    METH_VARARGS, Py_DECREF, Py_IncRef, Py_None, Py_buffer, Py_ssize_t, PyBUF_FULL_RO, PyBuffer_Release,
    PyByteArray_FromStringAndSize, PyErr_SetString, PyEval_RestoreThread, PyEval_SaveThread, PyExc_TypeError,
    PyMethodDef, PyMethodDefPointer, PyModule_Create, PyModuleDef, PyModuleDef_HEAD_INIT, PyObject,
    PyObject_GetBuffer, PyTuple_GetItem, PyTuple_New, PyTuple_SetItem, PyTuple_Size, PyUnicode_AsUTF8AndSize,
    PyUnicode_FromStringAndSize,
};

use crate::call::{Array, Buffer, Call, Reply};
use crate::error::Failure;
use crate::run;

static mut METHODS: [PyMethodDef; 2] = [
    PyMethodDef {
        ml_name: c"call".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: call },
        ml_flags: METH_VARARGS,
        ml_doc: c"Runs an operation: its name, arguments as JSON, and arrays.".as_ptr(),
    },
    PyMethodDef::zeroed(),
];

static mut MODULE: PyModuleDef = PyModuleDef {
    m_base: PyModuleDef_HEAD_INIT,
    m_name: c"_frcnn".as_ptr(),
    m_doc: c"The part of frcnn that is in Rust.".as_ptr(),
    m_size: -1,
    m_methods: (&raw mut METHODS).cast(),
    m_slots: ptr::null_mut(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
};

/// What Python calls when the module is imported.
///
/// # Safety
/// For the interpreter, once, on a thread that is attached to it.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "it is the name that Python looks for")]
unsafe extern "C" fn PyInit__frcnn() -> *mut PyObject {
    // SAFETY: the thread is attached. The definition is static, as is all that it points to, and only Python writes to it, which calls
    // this once.
    unsafe { PyModule_Create(&raw mut MODULE) }
}

/// # Safety
/// For the interpreter, with a tuple, on a thread that is attached to it.
unsafe extern "C" fn call(_module: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    // SAFETY: as this function's caller promises.
    unsafe { called(arguments) }.unwrap_or(ptr::null_mut())
}

/// None where an exception is set.
///
/// # Safety
/// `arguments` is a tuple, and the thread is attached to the interpreter.
unsafe fn called(arguments: *mut PyObject) -> Option<*mut PyObject> {
    // SAFETY: the tuple is the caller's for the whole call, and so are its items, which nobody can exchange. Strings lie in memory that
    // their objects keep. `views` is released by its `drop`, when the thread is attached again.
    unsafe {
        let (operation, text) = (string(arguments, 0)?, string(arguments, 1)?);
        let mut views = Views::default();
        for position in 2..PyTuple_Size(arguments) {
            views.add(PyTuple_GetItem(arguments, position))?;
        }
        let call = Call { arguments: text, arrays: views.buffers()? };
        // No object of Python's is touched between these: of the arrays only the memory, which the views hold.
        let thread = PyEval_SaveThread();
        let outcome = run(operation, &call);
        PyEval_RestoreThread(thread);
        drop(call);
        match outcome {
            Ok(Reply { value, arrays }) => tuple(&value, &arrays),
            Err(Failure { kind, text }) => failed(kind.name(), &text),
        }
    }
}

/// Arrays whose memory is held. Views stay where they were filled: those of `bytes` point into themselves.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "a vector that grows would move them")]
struct Views(Vec<Box<Py_buffer>>);

impl Views {
    /// # Safety
    /// `array` is an object, and the thread is attached to the interpreter.
    unsafe fn add(&mut self, array: *mut PyObject) -> Option<()> {
        let mut view = Box::new(MaybeUninit::<Py_buffer>::uninit());
        // SAFETY: the function fills the view where it gives 0, and sets an exception otherwise.
        let view = unsafe {
            if PyObject_GetBuffer(array, view.as_mut_ptr(), PyBUF_FULL_RO) != 0 {
                return None;
            }
            view.assume_init()
        };
        self.0.push(view);
        Some(())
    }

    /// # Safety
    /// The thread is attached to the interpreter.
    unsafe fn buffers(&self) -> Option<Vec<Buffer<'_>>> {
        // SAFETY: the views are filled, and held as long as `self`.
        self.0.iter().map(|view| unsafe { buffer(view) }).collect()
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        for view in &mut self.0 {
            // SAFETY: filled by `PyObject_GetBuffer`, released once; the thread is attached wherever views are let go of.
            unsafe { PyBuffer_Release(&raw mut **view) };
        }
    }
}

/// # Safety
/// The view is filled, and the thread is attached to the interpreter.
unsafe fn buffer(view: &Py_buffer) -> Option<Buffer<'_>> {
    let dimensions = usize::try_from(view.ndim).unwrap_or(0);
    // SAFETY: a view that was asked for with PyBUF_FULL_RO has `ndim` lengths and strides, unless `ndim` is 0, and a format. An array
    // without suboffsets is one piece of memory in which the exporter owns every element; where no stride is negative, they lie from
    // `buf` on and end with the last one. What lies between elements of a view of a larger array is that array's. Bytes are valid
    // whatever they are. Who writes into an array while it is looked at gets detections of some mixture, as from any function of
    // NumPy's that lets go of the interpreter.
    unsafe {
        if dimensions == 0 || view.shape.is_null() || view.strides.is_null() || !view.suboffsets.is_null() {
            return type_error(c"an array has dimensions, and lies in one piece");
        }
        let lengths = std::slice::from_raw_parts(view.shape, dimensions);
        let steps = std::slice::from_raw_parts(view.strides, dimensions);
        let lengths: Option<Vec<usize>> =
            lengths.iter().map(|&length| usize::try_from(length).ok()).collect();
        let steps: Option<Vec<usize>> = steps.iter().map(|&step| usize::try_from(step).ok()).collect();
        let (Some(shape), Some(strides)) = (lengths, steps) else {
            return type_error(c"an array's elements follow each other forwards");
        };
        let item = usize::try_from(view.itemsize).unwrap_or(0);
        let bytes = match shape.contains(&0) || view.buf.is_null() {
            true => &[],
            false => {
                let last: usize =
                    shape.iter().zip(&strides).map(|(&length, &step)| (length - 1) * step).sum();
                std::slice::from_raw_parts(view.buf.cast::<u8>().cast_const(), last + item)
            }
        };
        let format = match view.format.is_null() {
            true => "B".to_string(),
            false => CStr::from_ptr(view.format).to_string_lossy().into_owned(),
        };
        Some(Buffer { bytes, shape, strides, format })
    }
}

/// The text of an item of a tuple.
///
/// # Safety
/// `tuple` is a tuple that lives as long as the text is used, and the thread is attached to the interpreter.
unsafe fn string<'a>(tuple: *mut PyObject, position: Py_ssize_t) -> Option<&'a str> {
    let mut length = 0;
    // SAFETY: each function sets an exception where it gives null. The text is kept by the item, and is UTF-8.
    unsafe {
        let item = PyTuple_GetItem(tuple, position);
        let text = if item.is_null() { ptr::null() } else { PyUnicode_AsUTF8AndSize(item, &raw mut length) };
        if text.is_null() {
            return None;
        }
        let bytes = std::slice::from_raw_parts(text.cast::<u8>(), usize::try_from(length).unwrap_or(0));
        Some(std::str::from_utf8_unchecked(bytes))
    }
}

/// # Safety
/// The thread is attached to the interpreter.
unsafe fn type_error<T>(text: &CStr) -> Option<T> {
    // SAFETY: the text ends with a zero, and is copied.
    unsafe { PyErr_SetString(PyExc_TypeError, text.as_ptr()) };
    None
}

/// # Safety
/// The thread is attached to the interpreter.
unsafe fn tuple(value: &str, arrays: &[Array]) -> Option<*mut PyObject> {
    // SAFETY: the items are new, and given to the tuple, or let go of with it.
    unsafe {
        let items = std::iter::once(text(value)).chain(arrays.iter().map(|array| bytes(array)));
        collected(items, 1 + arrays.len())
    }
}

/// # Safety
/// The thread is attached to the interpreter.
unsafe fn failed(class: &str, message: &str) -> Option<*mut PyObject> {
    // SAFETY: as in `tuple`; None is given with a reference of its own.
    unsafe {
        let none = Py_None();
        Py_IncRef(none);
        collected([text(class), text(message), none].into_iter(), 3)
    }
}

/// # Safety
/// The items are new references, or null where an exception is set; the thread is attached to the interpreter.
unsafe fn collected(items: impl Iterator<Item = *mut PyObject>, count: usize) -> Option<*mut PyObject> {
    // SAFETY: `PyTuple_SetItem` takes the item, whatever it gives; a tuple with items that are null can be let go of.
    unsafe {
        let tuple = PyTuple_New(Py_ssize_t::try_from(count).ok()?);
        if tuple.is_null() {
            return None;
        }
        for (position, item) in (0..).zip(items) {
            if item.is_null() || PyTuple_SetItem(tuple, position, item) != 0 {
                Py_DECREF(tuple);
                return None;
            }
        }
        Some(tuple)
    }
}

/// # Safety
/// The thread is attached to the interpreter.
unsafe fn text(text: &str) -> *mut PyObject {
    // SAFETY: so many bytes are read, which are UTF-8.
    unsafe { PyUnicode_FromStringAndSize(text.as_ptr().cast::<c_char>(), length(text.len())) }
}

/// # Safety
/// The thread is attached to the interpreter.
unsafe fn bytes(array: &Array) -> *mut PyObject {
    let (start, size) = match array {
        Array::F32(values) => (values.as_ptr().cast::<c_char>(), size_of_val(&values[..])),
        Array::I64(values) => (values.as_ptr().cast::<c_char>(), size_of_val(&values[..])),
        Array::U8(values) => (values.as_ptr().cast::<c_char>(), values.len()),
    };
    // SAFETY: so many bytes are read, and copied. Numbers have no bytes of no value.
    unsafe { PyByteArray_FromStringAndSize(start, length(size)) }
}

/// No object in memory is longer.
fn length(length: usize) -> Py_ssize_t {
    Py_ssize_t::try_from(length).unwrap_or(Py_ssize_t::MAX)
}
