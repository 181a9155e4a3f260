//! The page, as one file without anything from elsewhere, and the headers that hold it to that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const BODY: &str = include_str!("page/page.html");
const KEY_BODY: &str = include_str!("page/key.html");

/// HTML, and the policy that lets a browser run its script and style sheet and no other.
pub(super) struct Pages {
    /// Shows cameras.
    pub(super) main: String,
    /// Asks for the key.
    pub(super) key: String,
    /// `Content-Security-Policy`
    pub(super) policy: String,
}

impl Pages {
    pub(super) fn new() -> Pages {
        let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        let page = |body: &str, script: &str| {
            format!(
                "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
                 <title>frcnn-camera</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n\
                 <body>\n{body}{script}</body>\n</html>\n"
            )
        };
        Pages {
            main: page(BODY, &format!("<script>{SCRIPT}</script>\n")),
            key: page(KEY_BODY, ""),
            policy: format!(
                "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' blob: data:; \
                 connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
                digest(SCRIPT),
                digest(STYLE)
            ),
        }
    }
}
