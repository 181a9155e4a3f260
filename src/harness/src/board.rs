//! The boards that bundles are made for: what of them layers' costs depend on.

use std::num::NonZeroU32;
use std::path::Path;

use frcnn_core::Printable;
use frcnn_kernels::{CacheInfo, Cpu, F16Isa, Isa, TypeModel};
use serde::Deserialize;

/// Name and description of each board that is known.
const KNOWN: [(&str, &str); 7] = [
    ("aarch64-server", include_str!("../../../targets/aarch64-server.toml")),
    ("imx8m-plus", include_str!("../../../targets/imx8m-plus.toml")),
    ("jetson-orin-nano", include_str!("../../../targets/jetson-orin-nano.toml")),
    ("raspberry-pi-4", include_str!("../../../targets/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../targets/raspberry-pi-5.toml")),
    ("rk3588", include_str!("../../../targets/rk3588.toml")),
    ("x86-64", include_str!("../../../targets/x86-64.toml")),
];
/// The name of the machine that this runs on.
const THIS: &str = "this";
/// Features that choose an instruction set; the last that a board has counts.
const SETS: [(&str, Isa); 4] =
    [("neon", Isa::Neon), ("avx2", Isa::Avx2), ("fma", Isa::Avx2), ("avx512f", Isa::Avx512)];
/// Features, and what a CPU that has them has as well.
const NEEDS: [(&str, &str); 10] = [
    ("fp16", "neon"),
    ("dotprod", "neon"),
    ("i8mm", "neon"),
    ("fma", "avx2"),
    ("avxvnni", "avx2"),
    ("avx512vnni", "avx512f"),
    ("avx512bf16", "avx512f"),
    ("avx512fp16", "avx512f"),
    ("amx-bf16", "avx512f"),
    ("amx-int8", "avx512f"),
];
/// Sizes of a first level of cache that there are.
const L1D: std::ops::RangeInclusive<usize> = 1 << 12..=1 << 20;
/// A description is shorter.
const MAX_BYTES: u64 = 1 << 20;

/// A machine that a bundle is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// As it was asked for.
    pub name: String,
    /// What its CPU is like.
    pub model: TypeModel,
}

/// The fields of `targets/*.toml`. Those that matter here have to be there, and no field may be that is none of them: a slip
/// of the pen would make a bundle for another board.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "fields that the scripts of targets read")]
struct Description {
    features: Vec<String>,
    caches: String,
    in_order: bool,
    name: Option<String>,
    soc: Option<String>,
    triple: Option<String>,
    cpu: Option<String>,
    qemu_cpu: Option<String>,
    memory_mib: Option<NonZeroU32>,
    threads: Option<NonZeroU32>,
    advice: Option<String>,
}

/// Whether this machine computes layers of f16 weights in f16, and so rounds what they read.
pub fn computes_f16() -> bool {
    F16Isa::detect().is_some()
}

impl Board {
    /// A known board, `this` machine, or one that the file at a path describes, in the form of `targets/*.toml`.
    ///
    /// # Errors
    /// There is no such board, with the names of those there are; or what is wrong with the file.
    pub fn find(name: &str) -> Result<Board, String> {
        if name == THIS {
            return Ok(Board { name: name.to_string(), model: TypeModel::detect() });
        }
        if let Some((_, text)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return Board::described(name, text);
        }
        if !name.ends_with(".toml") {
            let known: Vec<&str> = KNOWN.iter().map(|&(known, _)| known).collect();
            return Err(format!(
                "there is no board `{}`; there are {THIS} (this machine), {}, and the path of a .toml file like those in targets",
                Printable(name),
                known.join(", ")
            ));
        }
        let bytes =
            frcnn_files::read_at_most(Path::new(name), MAX_BYTES).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "is no text".to_string())?;
        Board::described(name, &text)
    }

    fn described(name: &str, text: &str) -> Result<Board, String> {
        let Description { features, caches, in_order, .. } =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let is_known = |feature: &String| {
            SETS.iter().any(|(known, _)| known == feature)
                || TypeModel::features().any(|known| known == feature)
        };
        if let Some(unknown) = features.iter().find(|feature| !is_known(feature)) {
            let known: Vec<&str> =
                SETS.iter().map(|&(known, _)| known).chain(TypeModel::features()).collect();
            return Err(format!("features: `{}` is none of {}", Printable(unknown), known.join(", ")));
        }
        let has = |name: &str| features.iter().any(|feature| feature == name);
        if let Some((feature, base)) = NEEDS.into_iter().find(|&(feature, base)| has(feature) && !has(base)) {
            return Err(format!("features: a CPU with `{feature}` has `{base}`, too"));
        }
        if has("neon") && features.iter().any(|feature| feature.starts_with("avx")) {
            return Err("features: `neon` is of Arm CPUs, and avx of x86".to_string());
        }
        let caches = CacheInfo::described(&caches).ok_or_else(|| {
            format!(
                "caches: `{}` is not like 32K,1M/4,0: L1d, L2 and L3, with the cores that share them",
                Printable(&caches)
            )
        })?;
        check_caches(&caches)?;
        let isa = SETS.iter().rev().find(|(name, _)| has(name)).map_or(Isa::Scalar, |&(_, isa)| isa);
        Ok(Board { name: name.to_string(), model: TypeModel::new(Cpu { isa, caches }, in_order, has) })
    }
}

/// Whether there are such caches: each level, if it is there, is larger than the one before.
fn check_caches(caches: &CacheInfo) -> Result<(), String> {
    let CacheInfo { l1d, l2, l3 } = caches;
    if !L1D.contains(l1d) {
        return Err(format!("caches: an L1d of {l1d} bytes; sizes are like 32K or 1M"));
    }
    let before = [*l1d, l2.bytes.max(*l1d)];
    for (level, cache, before) in [("L2", l2, before[0]), ("L3", l3, before[1])] {
        if cache.bytes != 0 && cache.bytes < before {
            return Err(format!(
                "caches: an {level} of {} bytes is smaller than the level before it; 0 is none",
                cache.bytes
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_targets_is_a_board() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(found, KNOWN.map(|(name, _)| name));
        let extras = TypeModel::features().chain(SETS.map(|(name, _)| name));
        let base = ["neon", "avx2", "avx512f"];
        assert!(
            extras
                .into_iter()
                .all(|name| base.contains(&name) || NEEDS.iter().any(|(known, _)| *known == name))
        );
        for name in found {
            let board = Board::find(&name).unwrap();
            assert_eq!(board.name, name);
            // It is the board's CPU that is described, and not this one.
            let fc = board.model.linear(300, 512, 512);
            let has_fp16 = ["jetson-orin-nano", "raspberry-pi-5", "rk3588"].contains(&name.as_str());
            assert_eq!(fc.f16 < fc.f32, has_fp16, "{name}");
        }
        assert_eq!(Board::find("this").unwrap().model, TypeModel::detect());
    }

    #[test]
    fn an_unknown_board_gets_the_known_ones() {
        let error = Board::find("raspberry-pi").unwrap_err();
        assert!(error.contains("`raspberry-pi`") && error.contains("raspberry-pi-5, rk3588"), "{error}");
    }

    #[test]
    fn a_board_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let board = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Board::find(path.to_str().unwrap())
        };
        let mine = "features = ['neon', 'dotprod']\ncaches = '32K,256K,1M/4'\nin_order = true\n";
        assert!(board(mine).is_ok());
        assert!(board(&format!("{mine}name = 'my own'\nthreads = 4\nmemory_mib = 512\n")).is_ok());
        for (wrong, problem) in [
            (mine.replace("dotprod", "dotproduct"), "features: `dotproduct` is none of neon, "),
            (mine.replace("'neon', ", ""), "features: a CPU with `dotprod` has `neon`, too"),
            (mine.replace("'dotprod'", "'avx2'"), "`neon` is of Arm CPUs"),
            (mine.replace("32K", "32G"), "caches: `32G,256K,1M/4` is not like"),
            (mine.replace("32K", "32"), "caches: an L1d of 32 bytes"),
            (mine.replace("256K", "16K"), "caches: an L2 of 16384 bytes is smaller"),
            (mine.replace("1M/4", "128K"), "caches: an L3 of 131072 bytes is smaller"),
            (mine.replace("in_order = true\n", ""), "missing field `in_order`"),
            (mine.replace("in_order", "order"), "unknown field `order`"),
            (format!("{mine}cahces = '32K,1M,0'\n"), "unknown field `cahces`"),
            (format!("{mine}threads = 0\n"), "threads = 0"),
            (format!("{mine}memory_mib = 'much'\n"), "memory_mib = 'much'"),
            (mine.replace("true", "'yes'"), "in_order = 'yes'"),
        ] {
            let error = board(&wrong).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        assert!(Board::find("/nowhere/board.toml").is_err());
    }
}
