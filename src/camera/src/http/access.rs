//! Who may ask: this machine without a key, everybody else with one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use hyper::header::{AUTHORIZATION, COOKIE, HOST};
use hyper::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

/// A key must be at least so long.
const SHORTEST: usize = 16;

/// Whether there is a key, and what it is.
pub(super) struct Access {
    /// Of the key, so that a comparison's time says nothing of it.
    key: Option<[u8; 32]>,
    /// What the cookie is called: cookies are shared by all ports of a host.
    cookie: String,
}

/// What a request may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What it asks for.
    Allowed,
    /// The key was in the address: a cookie, and the same page without it.
    Welcome {
        /// The value of `Set-Cookie`.
        cookie: String,
    },
    /// Nothing without a key; the reason.
    NoKey,
    /// Nothing: another site's name was given for this machine.
    Stranger,
}

impl Access {
    /// # Errors
    /// The address is not this machine's own and there is no key; or the key cannot be read or is short.
    pub(super) fn new(listen: SocketAddr, key_file: Option<&Path>) -> Result<Access, String> {
        let key = match key_file {
            Some(path) => Some(read_key(path)?),
            None if listen.ip().is_loopback() => None,
            None => {
                return Err(format!(
                    "listen: {listen} can be reached by other machines, which would see the pictures; set key_file, or \
                     listen on 127.0.0.1"
                ));
            }
        };
        Ok(Access { key, cookie: format!("frcnn-camera-{}", listen.port()) })
    }

    /// Once the port is known.
    pub(super) fn set_port(&mut self, port: u16) {
        self.cookie = format!("frcnn-camera-{port}");
    }

    pub(super) fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Verdict {
        let Some(key) = &self.key else {
            // A page of another site may have its name point here (DNS rebinding); the browser then gives that name.
            return if is_local(headers) { Verdict::Allowed } else { Verdict::Stranger };
        };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if bearer
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|given| hash(given.trim()) == *key)
        {
            return Verdict::Allowed;
        }
        let query = uri.query().unwrap_or_default();
        let given = query.split('&').find_map(|pair| pair.strip_prefix("key="));
        if given.is_some_and(|given| hash(&decoded(given)) == *key) {
            let (name, value) = (&self.cookie, token(key));
            let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000");
            return Verdict::Welcome { cookie };
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut ours = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(&self.cookie)?.strip_prefix('='));
        // Compared by hashes, too.
        match ours.any(|given| hash(given) == hash(&token(key))) {
            true => Verdict::Allowed,
            false => Verdict::NoKey,
        }
    }
}

fn read_key(path: &Path) -> Result<[u8; 32], String> {
    let named = |problem: &str| format!("key_file {}: {problem}", path.display());
    let bytes = frcnn_files::read_at_most(path, 4096).map_err(|error| named(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| named("is not text"))?;
    let key = text.trim();
    if key.len() < SHORTEST {
        let problem = format!(
            "a key has at least {SHORTEST} characters; such as `head -c 24 /dev/urandom | base64` makes"
        );
        return Err(named(&problem));
    }
    Ok(hash(key))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// What a browser keeps in place of the key.
fn token(key: &[u8; 32]) -> String {
    let mut text = String::new();
    for byte in Sha256::new().chain_update("frcnn-camera cookie").chain_update(key).finalize() {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A part of a query: `+` is a space there.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Whether the request gives one of this machine's own names, with any port.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KEY: &str = "a+long/key of 25 letters=";

    fn access(key: bool) -> Access {
        Access { key: key.then(|| hash(KEY)), cookie: "frcnn-camera-1".into() }
    }

    fn judge(access: &Access, uri: &str, headers: &[(&'static str, &str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        access.judge(&uri.parse().unwrap(), &map)
    }

    #[test]
    fn this_machine_needs_no_key_but_its_own_name() {
        let access = access(false);
        for host in ["localhost:9477", "127.0.0.1", "[::1]:80", "LOCALHOST"] {
            assert_eq!(judge(&access, "/", &[("host", host)]), Verdict::Allowed, "{host}");
        }
        for host in ["evil.example", "evil.example:9477", "localhost.evil.example", "192.168.1.2"] {
            assert_eq!(judge(&access, "/", &[("host", host)]), Verdict::Stranger, "{host}");
        }
    }

    #[test]
    fn with_a_key_any_name_and_no_other_key() {
        let access = access(true);
        assert_eq!(judge(&access, "/", &[("host", "localhost")]), Verdict::NoKey);
        assert_eq!(judge(&access, "/?key=x", &[]), Verdict::NoKey);
        assert_eq!(judge(&access, "/", &[("authorization", "Bearer x")]), Verdict::NoKey);
        assert_eq!(judge(&access, "/", &[("cookie", "frcnn-camera-1=x")]), Verdict::NoKey);
        let bearer = format!("Bearer {KEY}");
        assert_eq!(
            judge(&access, "/", &[("authorization", &bearer), ("host", "a.example")]),
            Verdict::Allowed
        );
        let Verdict::Welcome { cookie } = judge(&access, "/?x=1&key=a%2Blong/key+of%2025%20letters=", &[])
        else {
            unreachable!("the key is right");
        };
        assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains(KEY), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(judge(&access, "/", &[("cookie", &format!("a=b; {pair}"))]), Verdict::Allowed);
        // Another port's.
        assert_eq!(judge(&access, "/", &[("cookie", &pair.replace("-1=", "-2="))]), Verdict::NoKey);
    }

    #[test]
    fn other_machines_need_a_long_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let everywhere = "0.0.0.0:1".parse().unwrap();
        let refused = |key_file: Option<&Path>| Access::new(everywhere, key_file).err().unwrap();
        assert!(refused(None).contains("key_file"));
        assert!(refused(Some(&path)).contains("key"));
        std::fs::write(&path, "short\n").unwrap();
        assert!(refused(Some(&path)).contains("16 characters"));
        std::fs::write(&path, format!("{KEY}\n")).unwrap();
        assert_eq!(Access::new(everywhere, Some(&path)).ok().unwrap().key, Some(hash(KEY)));
        assert!(Access::new("[::1]:1".parse().unwrap(), None).is_ok());
    }
}
