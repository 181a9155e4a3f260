//! Reading and writing the file. The byte layout is in the crate's documentation.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use frcnn_core::bf16_to_f32;
use xxhash_rust::xxh3::xxh3_128;

use crate::storage::{ALIGN, AlignedBytes};
use crate::{Contents, Error, Precision, Section, SectionId};

/// Version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"\x89FRCNN\r\n";
const PRELUDE: usize = 64;

/// A validated bundle in memory.
pub struct Bundle {
    contents: Contents,
    bytes: AlignedBytes,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle({}, {} bytes)", self.contents.manifest.name, self.file_len())
    }
}

impl Bundle {
    /// Reads and validates a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Bundle, Error> {
        let path = path.as_ref();
        let read = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
            }
            let len = usize::try_from(metadata.len()).map_err(io::Error::other)?;
            // A file that is no bundle is found out from its first bytes, before it is read whole.
            let mut prelude = Vec::with_capacity(PRELUDE);
            (&file).take(PRELUDE as u64).read_to_end(&mut prelude)?;
            if let Err(error) = Prelude::parse(&prelude, len) {
                return Ok(Err(error));
            }
            AlignedBytes::read(prelude.chain(&file), len).map(Ok)
        };
        let bytes = read().map_err(|source| Error::Io { path: path.to_path_buf(), source })??;
        Bundle::from_aligned(bytes)
    }

    /// Validates a bundle that is in memory already; the bytes are copied once, to an aligned place.
    pub fn from_bytes(bytes: &[u8]) -> Result<Bundle, Error> {
        Prelude::parse(bytes, bytes.len())?;
        Bundle::from_aligned(AlignedBytes::copy_of(bytes))
    }

    fn from_aligned(bytes: AlignedBytes) -> Result<Bundle, Error> {
        let contents = parse(bytes.as_slice())?;
        Ok(Bundle { contents, bytes })
    }

    /// Everything but the weights.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// An f32 section's weights in the layout that its layer documents; empty for one that is bf16, or does not exist.
    pub fn weights(&self, id: SectionId) -> &[f32] {
        self.section(id, Precision::F32).map_or(&[], bytemuck::cast_slice)
    }

    /// The same of a bf16 section, as bits; empty for one that is f32, or does not exist.
    pub fn bf16_weights(&self, id: SectionId) -> &[u16] {
        self.section(id, Precision::Bf16).map_or(&[], bytemuck::cast_slice)
    }

    /// A section's weights, widened to f32 where they are bf16.
    pub fn weights_as_f32(&self, id: SectionId) -> Cow<'_, [f32]> {
        match self.bf16_weights(id) {
            [] => Cow::Borrowed(self.weights(id)),
            bits => Cow::Owned(bits.iter().map(|&bits| bf16_to_f32(bits)).collect()),
        }
    }

    /// The bytes of a section of that precision.
    fn section(&self, id: SectionId, precision: Precision) -> Option<&[u8]> {
        let section = self.contents.sections.get(id as usize)?;
        if section.precision() != Some(precision) {
            return None;
        }
        section_bytes(self.bytes.as_slice(), section)
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.bytes.as_slice().len()
    }
}

/// The fixed part at the start of a file.
struct Prelude {
    contents_len: usize,
    contents_hash: u128,
}

impl Prelude {
    fn parse(bytes: &[u8], file_len: usize) -> Result<Prelude, Error> {
        let prelude: &[u8; PRELUDE] = bytes.first_chunk().ok_or(Error::TooShort(bytes.len()))?;
        let mut fields = Fields(prelude);
        if fields.take::<8>() != MAGIC {
            return Err(Error::Magic);
        }
        let found = u32::from_le_bytes(fields.take());
        if found != FORMAT_VERSION {
            return Err(Error::Version { found, supported: FORMAT_VERSION });
        }
        zeros(&fields.take::<4>(), 12)?;
        let contents_len = u64::from_le_bytes(fields.take());
        let stated = u64::from_le_bytes(fields.take());
        if stated != file_len as u64 {
            return Err(Error::Length { stated, actual: file_len as u64 });
        }
        let contents_hash = u128::from_le_bytes(fields.take());
        zeros(&fields.take::<16>(), 48)?;
        if contents_len > stated - PRELUDE as u64 {
            return Err(Error::Length {
                stated: contents_len.saturating_add(PRELUDE as u64),
                actual: stated,
            });
        }
        Ok(Prelude { contents_len: contents_len as usize, contents_hash })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeros once there are none, which the fixed length of a prelude rules out.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

fn zeros(bytes: &[u8], offset: usize) -> Result<(), Error> {
    match bytes.iter().position(|&b| b != 0) {
        Some(position) => Err(Error::Padding((offset + position) as u64)),
        None => Ok(()),
    }
}

/// Validates a whole file and gives its contents record.
fn parse(bytes: &[u8]) -> Result<Contents, Error> {
    let prelude = Prelude::parse(bytes, bytes.len())?;
    let contents_end = PRELUDE + prelude.contents_len;
    let record = bytes.get(PRELUDE..contents_end).ok_or(Error::TooShort(bytes.len()))?;
    if xxh3_128(record) != prelude.contents_hash {
        return Err(Error::ContentsHash);
    }
    let (contents, rest) = postcard::take_from_bytes::<Contents>(record).map_err(Error::Contents)?;
    if !rest.is_empty() {
        return Err(Error::Contents(postcard::Error::DeserializeBadEncoding));
    }
    crate::validate::contents(&contents)?;

    let mut end = contents_end;
    for section in &contents.sections {
        let problem =
            |problem: &str| Error::Section { name: section.name.clone(), problem: problem.to_string() };
        let start = end.next_multiple_of(ALIGN);
        if section.offset != start as u64 {
            return Err(problem("does not follow the one before it"));
        }
        let data = section_bytes(bytes, section).ok_or_else(|| problem("reaches beyond the file"))?;
        zeros(&bytes[end..start], end)?;
        if xxh3_128(data) != section.hash {
            return Err(problem("does not match its hash"));
        }
        end = start + data.len();
    }
    if end != bytes.len() {
        return Err(Error::Length { stated: end as u64, actual: bytes.len() as u64 });
    }
    Ok(contents)
}

fn section_bytes<'a>(file: &'a [u8], section: &Section) -> Option<&'a [u8]> {
    let start = usize::try_from(section.offset).ok()?;
    let len = usize::try_from(section.bytes).ok()?;
    file.get(start..start.checked_add(len)?)
}

/// Collects weights and writes them with the contents record as one file.
#[derive(Default)]
pub struct BundleWriter {
    sections: Vec<Section>,
    data: Vec<Data>,
}

enum Data {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Data::F32(values) => bytemuck::cast_slice(values),
            Data::Bf16(bits) => bytemuck::cast_slice(bits),
        }
    }
}

impl BundleWriter {
    /// An empty writer.
    pub fn new() -> BundleWriter {
        BundleWriter::default()
    }

    /// Adds a tensor of weights and gives the id by which layers refer to it.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> SectionId {
        self.push(name.into(), shape, Data::F32(data))
    }

    /// Adds a tensor of bf16 weights, given as their bits.
    pub fn add_bf16(&mut self, name: impl Into<String>, shape: &[usize], bits: Vec<u16>) -> SectionId {
        self.push(name.into(), shape, Data::Bf16(bits))
    }

    fn push(&mut self, name: String, shape: &[usize], data: Data) -> SectionId {
        let bytes = data.bytes();
        self.sections.push(Section {
            name,
            shape: shape.iter().map(|&d| d as u32).collect(),
            offset: 0,
            bytes: bytes.len() as u64,
            hash: xxh3_128(bytes),
        });
        self.data.push(data);
        (self.sections.len() - 1) as SectionId
    }

    /// Puts `contents` (whose `sections` are replaced by this writer's) and the weights together, and
    /// validates the result as a reader would. Same input, same bytes.
    pub fn finish(self, mut contents: Contents) -> Result<Bundle, Error> {
        contents.sections = self.sections;
        // Offsets depend on the record's length, which depends on the offsets: postcard's integers vary
        // in length. Lengths only grow with offsets, so this settles after a few rounds.
        let mut record = Vec::new();
        loop {
            let mut end = PRELUDE + record.len();
            for section in &mut contents.sections {
                let start = end.next_multiple_of(ALIGN);
                section.offset = start as u64;
                end = start + section.bytes as usize;
            }
            let next = postcard::to_stdvec(&contents).map_err(Error::Contents)?;
            let settled = next.len() == record.len();
            record = next;
            if settled {
                break;
            }
        }
        let file_len = contents
            .sections
            .last()
            .map_or(PRELUDE + record.len(), |last| (last.offset + last.bytes) as usize);

        let mut prelude = Vec::with_capacity(PRELUDE);
        prelude.extend_from_slice(&MAGIC);
        prelude.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        prelude.extend_from_slice(&[0; 4]);
        prelude.extend_from_slice(&(record.len() as u64).to_le_bytes());
        prelude.extend_from_slice(&(file_len as u64).to_le_bytes());
        prelude.extend_from_slice(&xxh3_128(&record).to_le_bytes());

        let mut bytes = AlignedBytes::zeroed(file_len);
        bytes.write_at(0, &prelude);
        bytes.write_at(PRELUDE, &record);
        // Each tensor is dropped once it is in its place: VGG16's weights fit in memory twice, not thrice.
        for (section, data) in contents.sections.iter().zip(self.data) {
            bytes.write_at(section.offset as usize, data.bytes());
        }
        Bundle::from_aligned(bytes)
    }
}

impl Bundle {
    /// The file, byte for byte.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Writes the file. It appears whole or not at all: it is written beside its place and renamed.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        crate::write_atomically(path, self.as_bytes())
            .map_err(|source| Error::Io { path: path.to_path_buf(), source })
    }
}
