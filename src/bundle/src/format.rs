//! Reading and writing the file. The byte layout is in the crate's documentation.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::source::{InPlace, Source};
use crate::{Contents, Error, Int8, Section, SectionId, Values, Weights, int8, old};

/// Version of the format that this crate writes; it also reads formats 2 to 5.
pub const FORMAT_VERSION: u32 = 6;

/// All versions that are read.
const VERSIONS: [u32; 5] = [2, 3, 4, 5, FORMAT_VERSION];
const MAGIC: [u8; 8] = *b"\x89FRCNN\r\n";
/// How a file begins that stands for another one, which Git keeps elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs";
const PRELUDE: usize = 64;
/// Bytes of the longest contents record: VGG16's has some 2,000, a thousand layers with long names some 100,000.
const MAX_CONTENTS: usize = 4 << 20;
/// Alignment of sections in the file.
const ALIGN: usize = 64;

/// A validated bundle in memory. Clones share the weights.
#[derive(Clone)]
pub struct Bundle {
    contents: Contents,
    /// The file up to the end of the contents record.
    head: Vec<u8>,
    weights: Vec<Weights>,
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
        let failed = |error| Error::Io { path: path.to_path_buf(), error };
        let (file, len) = frcnn_files::open_regular(path).map_err(failed)?;
        let len = usize::try_from(len).map_err(|error| failed(io::Error::other(error)))?;
        read(file, len).map_err(|refusal| match refusal {
            Refusal::Io(source) => failed(source),
            Refusal::Invalid(error) => error,
        })
    }

    /// Validates a bundle that is in memory already; its weights are copied once.
    pub fn from_bytes(bytes: &[u8]) -> Result<Bundle, Error> {
        read(bytes, bytes.len()).map_err(|refusal| refusal.of_memory(bytes.len()))
    }

    /// The same for a bundle that stays as long as the program, such as `include_bytes!` gives: its weights are used where
    /// they lie. Those that are not aligned as their type must be are copied once; none is if the first byte's address is a
    /// multiple of 4.
    pub fn from_static(bytes: &'static [u8]) -> Result<Bundle, Error> {
        read(InPlace(bytes), bytes.len()).map_err(|refusal| refusal.of_memory(bytes.len()))
    }

    /// Everything but the weights.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// A section's weights in the layout that its layer documents; none where there is no such section.
    pub fn weights(&self, id: SectionId) -> Option<&Weights> {
        self.weights.get(id as usize)
    }

    /// The same as f32, which 16 bits are widened to and int8 values times their scales rounded to; those that a layer
    /// refers to are there.
    pub fn weights_as_f32(&self, id: SectionId) -> Cow<'_, [f32]> {
        let mut values = self.weights(id).map_or(Cow::Borrowed(&[][..]), Weights::to_f32);
        if let Some(scales) = self.scales(id)
            && !scales.is_empty()
        {
            for row in values.to_mut().chunks_exact_mut(scales.len()) {
                row.iter_mut().zip(scales).for_each(|(value, scale)| *value *= scale);
            }
        }
        values
    }

    /// The scales of the output channels of a section of int8 weights.
    pub fn scales(&self, id: SectionId) -> Option<&[f32]> {
        match self.weights(self.contents.sections.get(id as usize)?.int8?.scales)? {
            Weights::F32(scales) => Some(scales),
            _ => None,
        }
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> usize {
        // Within the file that was read, or the memory that holds it.
        self.contents.sections.last().map_or(self.head.len(), |last| (last.offset + last.bytes) as usize)
    }

    /// The format of the file that was read, or is to be written.
    pub fn format_version(&self) -> u32 {
        let version = self.head.get(MAGIC.len()..).and_then(|rest| rest.first_chunk());
        version.map_or(FORMAT_VERSION, |bytes| u32::from_le_bytes(*bytes))
    }

    /// The same with [`Contents::board`].
    ///
    /// # Errors
    /// The name is too long.
    pub fn for_board(&self, board: &str) -> Result<Bundle, Error> {
        let writer = BundleWriter { sections: self.contents.sections.clone(), weights: self.weights.clone() };
        writer.finish(Contents { board: Some(board.to_string()), ..self.contents.clone() })
    }

    /// The contents, and the weights of each section.
    pub fn into_parts(self) -> (Contents, Vec<Weights>) {
        (self.contents, self.weights)
    }

    /// The file, byte for byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.file_len());
        self.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Writes the file. It appears whole or not at all: it is written beside its place and renamed.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        frcnn_files::write_pieces(path, self.pieces())
            .map_err(|error| Error::Io { path: path.to_path_buf(), error })
    }

    /// The file in pieces that follow one another, for `frcnn_files::Staged`.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        const ZEROS: [u8; ALIGN] = [0; ALIGN];
        let mut end = self.head.len();
        let sections = self.weights.iter().flat_map(move |weights| {
            let gap = end.next_multiple_of(ALIGN) - end;
            end += gap + weights.bytes().len();
            [&ZEROS[..gap], weights.bytes()]
        });
        [&self.head[..]].into_iter().chain(sections)
    }
}

/// The fixed part at the start of a file.
struct Prelude {
    version: u32,
    contents_len: usize,
    contents_hash: u128,
}

impl Prelude {
    fn parse(bytes: &[u8], file_len: usize) -> Result<Prelude, Error> {
        let prelude: &[u8; PRELUDE] = bytes.first_chunk().ok_or(Error::TooShort(bytes.len()))?;
        if prelude.starts_with(LFS_POINTER) {
            return Err(Error::LfsPointer);
        }
        let mut fields = Fields(prelude);
        if fields.take::<8>() != MAGIC {
            return Err(Error::Magic);
        }
        let version = u32::from_le_bytes(fields.take());
        if !VERSIONS.contains(&version) {
            return Err(Error::Version { found: version, supported: FORMAT_VERSION });
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
        Ok(Prelude { version, contents_len: contents_len as usize, contents_hash })
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

/// Why no bundle came of what was read.
enum Refusal {
    Io(io::Error),
    Invalid(Error),
}

impl Refusal {
    /// Of `len` bytes in memory.
    fn of_memory(self, len: usize) -> Error {
        match self {
            // What is there was counted before.
            Refusal::Io(_) => Error::TooShort(len),
            Refusal::Invalid(error) => error,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Invalid(error)
    }
}

/// Reads and validates a whole file of `len` bytes. One that is no bundle is found out from its first bytes.
fn read(mut file: impl Source, len: usize) -> Result<Bundle, Refusal> {
    let mut head = Vec::with_capacity(PRELUDE);
    file.by_ref().take(PRELUDE as u64).read_to_end(&mut head)?;
    let prelude = Prelude::parse(&head, len)?;
    if prelude.contents_len > MAX_CONTENTS {
        return Err(Error::ContentsLength(prelude.contents_len).into());
    }
    head.resize(PRELUDE + prelude.contents_len, 0);
    let record = &mut head[PRELUDE..];
    file.read_exact(record)?;
    if xxh3_128(record) != prelude.contents_hash {
        return Err(Error::ContentsHash.into());
    }
    let stated = prelude.version;
    let contents = decode(stated, record).map_err(|error| {
        let mut others = VERSIONS.into_iter().filter(|&version| version != stated);
        match others.find(|&version| decode(version, record).is_ok()) {
            Some(actual) => Error::OtherVersion { stated, actual },
            None => error,
        }
    })?;
    crate::validate::contents(&contents)?;

    let mut end = head.len();
    let mut weights = Vec::with_capacity(contents.sections.len());
    for section in &contents.sections {
        let problem =
            |problem: &str| Error::Section { name: section.name.clone(), problem: problem.to_string() };
        let start = end.next_multiple_of(ALIGN);
        if section.offset != start as u64 {
            return Err(problem("does not follow the one before it").into());
        }
        let bytes = usize::try_from(section.bytes).ok();
        let bytes = bytes.filter(|&bytes| start.checked_add(bytes).is_some_and(|end| end <= len));
        let bytes = bytes.ok_or_else(|| problem("reaches beyond the file"))?;
        let gap = &mut [0; ALIGN][..start - end];
        file.read_exact(gap)?;
        zeros(gap, end)?;
        let data = file.weights(section.precision, bytes)?;
        if xxh3_128(data.bytes()) != section.hash {
            return Err(problem("does not match its hash").into());
        }
        check_finite(section, &data)?;
        weights.push(data);
        end = start + bytes;
    }
    if end != len {
        return Err(Error::Length { stated: end as u64, actual: len as u64 }.into());
    }
    int8::check_values(&contents.sections, &weights)?;
    Ok(Bundle { contents, head, weights })
}

/// A whole contents record of that version.
fn decode(version: u32, record: &[u8]) -> Result<Contents, Error> {
    let decoded = match version {
        2 => old::decode_2(record),
        3 => old::decode_3(record),
        4 => old::decode_4(record),
        5 => old::decode_5(record),
        _ => postcard::take_from_bytes::<Contents>(record),
    };
    let (contents, rest) = decoded.map_err(Error::contents)?;
    if !rest.is_empty() {
        return Err(Error::contents(postcard::Error::DeserializeBadEncoding));
    }
    Ok(contents)
}

fn check_finite(section: &Section, weights: &Weights) -> Result<(), Error> {
    match weights.not_finite() {
        0 => Ok(()),
        values => Err(Error::NotFinite { name: section.name.clone(), values }),
    }
}

/// Collects weights and writes them with the contents record as one file.
#[derive(Default)]
pub struct BundleWriter {
    sections: Vec<Section>,
    weights: Vec<Weights>,
}

impl BundleWriter {
    /// An empty writer.
    pub fn new() -> BundleWriter {
        BundleWriter::default()
    }

    /// A writer that has the sections of a bundle, with the ids that they have there; the weights are shared.
    pub fn of(bundle: &Bundle) -> BundleWriter {
        BundleWriter { sections: bundle.contents.sections.clone(), weights: bundle.weights.clone() }
    }

    /// Adds a tensor of weights and gives the id by which layers refer to it.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> SectionId {
        self.add_weights(name, shape, Weights::F32(data.into()))
    }

    /// Adds a tensor of weights of any precision but int8.
    pub fn add_weights(&mut self, name: impl Into<String>, shape: &[usize], weights: Weights) -> SectionId {
        self.add_section(name.into(), shape, weights, None)
    }

    /// Adds a tensor of int8 weights. The section of its scales may be added later.
    pub fn add_int8(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        weights: Values<i8>,
        int8: Int8,
    ) -> SectionId {
        self.add_section(name.into(), shape, Weights::Int8(weights), Some(int8))
    }

    fn add_section(
        &mut self,
        name: String,
        shape: &[usize],
        weights: Weights,
        int8: Option<Int8>,
    ) -> SectionId {
        let bytes = weights.bytes();
        self.sections.push(Section {
            name,
            shape: shape.iter().map(|&d| d as u32).collect(),
            precision: weights.precision(),
            int8,
            offset: 0,
            bytes: bytes.len() as u64,
            hash: xxh3_128(bytes),
        });
        self.weights.push(weights);
        (self.sections.len() - 1) as SectionId
    }

    /// Puts `contents` (whose `sections` are replaced by this writer's) and the weights together, and
    /// validates the result as a reader would. Same input, same bytes.
    pub fn finish(self, mut contents: Contents) -> Result<Bundle, Error> {
        contents.sections = self.sections;
        crate::validate::contents(&contents)?;
        for (section, weights) in contents.sections.iter().zip(&self.weights) {
            check_finite(section, weights)?;
        }
        int8::check_values(&contents.sections, &self.weights)?;
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
            let next = postcard::to_stdvec(&contents).map_err(Error::contents)?;
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

        let mut head = Vec::with_capacity(PRELUDE + record.len());
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&(record.len() as u64).to_le_bytes());
        head.extend_from_slice(&(file_len as u64).to_le_bytes());
        head.extend_from_slice(&xxh3_128(&record).to_le_bytes());
        head.resize(PRELUDE, 0);
        head.extend_from_slice(&record);
        Ok(Bundle { contents, head, weights: self.weights })
    }
}
