//! Numbers as people read them: three digits and a unit.
//!
//! Not indicatif's `HumanBytes` and `HumanCount`, which the progress bars have: they give two decimals to every size
//! (`527.79 MiB`) and no unit to counts (`138,357,544`), so that columns of tables grow wide.

use std::time::Duration;

/// A count: `950`, `12.3 k`, `1.24 M`, `15.3 G`.
pub(crate) fn count(n: u64) -> String {
    scaled(n as f64, 1000.0, ["", "k", "M", "G", "T"])
}

/// So many things of a kind: `1 photo`, `8 photos`.
pub(crate) fn several(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// A number of bytes: `950 B`, `12.3 KiB`, `1.24 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A share of 1 in percent: `95.02 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A difference that may be tiny: `0`, `3.1e-6`, `0.0280`.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn difference(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        tiny if tiny.abs() < 0.001 => format!("{tiny:.1e}"),
        _ => format!("{value:.4}"),
    }
}

/// A stage's duration in milliseconds, to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn scaled(mut value: f64, step: f64, units: [&str; 5]) -> String {
    let [whole, larger @ ..] = units;
    if value < step {
        return format!("{value} {whole}").trim_end().to_string();
    }
    let mut unit = whole;
    for next in larger {
        // 999.5 would be shown as 1000: that is 1.00 of the next unit.
        if value < 999.5 {
            break;
        }
        value /= step;
        unit = next;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (12_345, "12.3 k"),
            (999_499, "999 k"),
            (999_500, "1.00 M"),
            (138_357_544, "138 M"),
            (15_346_630_656, "15.3 G"),
        ] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn one_or_more() {
        assert_eq!([0, 1, 2].map(|n| several(n, "photo")), ["0 photos", "1 photo", "2 photos"]);
    }

    #[test]
    fn byte_counts() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (1_048_576, "1.00 MiB"),
            (553_430_176, "528 MiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn shares_differences_and_times() {
        assert_eq!(percent(0.95017), "95.02 %");
        assert_eq!(difference(0.0), "0");
        assert_eq!(difference(3.14e-6), "3.1e-6");
        assert_eq!(difference(0.028), "0.0280");
        assert_eq!(milliseconds(Duration::from_nanos(12_345_678)), 12.346);
    }
}
