//! Where a broker is, and under which topics to publish: `mqtt://USER@HOST:PORT/PREFIX`, `mqtts://` for TLS, or
//! `HOST:PORT/PREFIX`.

use std::fmt;
use std::net::Ipv6Addr;

use hyper::Uri;
use percent_encoding::percent_decode_str;

use super::topics::check_prefix;

/// What topics begin with where nothing else is said.
pub const DEFAULT_PREFIX: &str = "frcnn-camera";

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name, or an address of IPv4 or IPv6 (without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Who to log in as.
    pub user: Option<String>,
    /// What topics begin with, if the address says it.
    pub prefix: Option<String>,
}

impl Address {
    /// Reads `mqtt://[USER@]HOST[:PORT][/PREFIX]`, the same with `mqtts`, or `HOST[:PORT][/PREFIX]`. An address of IPv6
    /// stands in brackets; alone it may also stand without.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Address, String> {
        match text.split_once("://") {
            Some((scheme, _)) => Self::parse_url(text, scheme),
            None => match text.split_once('/') {
                Some((place, prefix)) => {
                    check_prefix(prefix)?;
                    Ok(Address { prefix: Some(prefix.to_owned()), ..Self::parse_host(place)? })
                }
                None => Self::parse_host(text),
            },
        }
    }

    fn parse_host(text: &str) -> Result<Address, String> {
        let plain =
            |host: &str, port| Address { host: host.to_owned(), port, tls: false, user: None, prefix: None };
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(plain(text, 1883));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let Some((host, rest)) = rest.split_once(']') else {
                return Err(format!("`{text}` has no closing bracket; write [::1]:1883"));
            };
            host.parse::<Ipv6Addr>().map_err(|_| format!("`{host}` is no address of IPv6"))?;
            return match rest.strip_prefix(':') {
                Some(port) => Ok(plain(host, parse_port(port)?)),
                None if rest.is_empty() => Ok(plain(host, 1883)),
                None => Err(format!("`{rest}` behind the bracket is no port; write [::1]:1883")),
            };
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, parse_port(port)?),
            Some(_) => return Err(format!("`{text}` is no address of IPv6; write HOST:PORT or [::1]:1883")),
            None => (text, 1883),
        };
        check_host(host)?;
        Ok(plain(host, port))
    }

    fn parse_url(text: &str, scheme: &str) -> Result<Address, String> {
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            other => {
                return Err(format!("`{other}` is no scheme for a broker; mqtt:// or, with TLS, mqtts://"));
            }
        };
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{text}` names no host"))?;
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "a password in the URL is seen by whoever lists processes or reads the file; put it into \
                        password_file or the environment variable FRCNN_MQTT_PASSWORD"
                    .to_owned(),
            );
        }
        if place.starts_with(':') || place.is_empty() {
            return Err(format!("`{text}` names no host"));
        }
        let Address { host, port, .. } = Self::parse_host(place)?;
        let said_port = uri.port().is_some();
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| "what %XX stands for is not UTF-8".to_owned())
        };
        if text.contains(['?', '#']) {
            return Err(format!("`{text}`: a prefix of topics is without ? and #"));
        }
        let prefix = decode(uri.path().trim_matches('/'))?;
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        if let Some(prefix) = &prefix {
            check_prefix(prefix)?;
        }
        Ok(Address {
            host,
            port: if said_port || !tls { port } else { 8883 },
            tls,
            user: user.map(decode).transpose()?.filter(|user| !user.is_empty()),
            prefix,
        })
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    port.ok_or_else(|| format!("`{text}` is not a port from 1 to 65535"))
}

fn check_host(host: &str) -> Result<(), String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.bytes().all(fine) {
        return Err(format!("`{host}` is no name of a host"));
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn place(text: &str) -> (String, u16) {
        let address = Address::parse(text).unwrap();
        (address.host, address.port)
    }

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("broker", "broker", 1883),
            ("broker.lan:1884", "broker.lan", 1884),
            ("127.0.0.1:9", "127.0.0.1", 9),
            ("::1", "::1", 1883),
            ("fe80::1:1883", "fe80::1:1883", 1883),
            ("[::1]", "::1", 1883),
            ("[::1]:1884", "::1", 1884),
            ("::1/yard", "::1", 1883),
            ("broker:2/a/b", "broker", 2),
            ("mqtt://broker", "broker", 1883),
            ("mqtts://broker", "broker", 8883),
            ("mqtts://broker:1883", "broker", 1883),
            ("mqtt://[::1]", "::1", 1883),
            ("mqtts://[::1]:42/yard", "::1", 42),
        ] {
            assert_eq!(place(text), (host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn users_and_prefixes() {
        let full = Address::parse("mqtts://m%40x@broker:8884/house/yard/").unwrap();
        assert_eq!(
            full,
            Address {
                host: "broker".into(),
                port: 8884,
                tls: true,
                user: Some("m@x".into()),
                prefix: Some("house/yard".into()),
            }
        );
        assert_eq!(full.to_string(), "mqtts://broker:8884");
        assert_eq!(Address::parse("mqtt://[::1]").unwrap().to_string(), "mqtt://[::1]:1883");
        assert_eq!(Address::parse("mqtt://broker/").unwrap().prefix, None);
        assert_eq!(Address::parse("broker:2/a/b").unwrap().prefix, Some("a/b".into()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "host"),
            (":1883", "host"),
            ("broker:", "port"),
            ("broker:0", "port"),
            ("broker:+1", "port"),
            ("broker:65536", "port"),
            ("::1:x", "[::1]:1883"),
            ("[::1", "bracket"),
            ("[::1]1883", "bracket"),
            ("[broker]:1883", "IPv6"),
            ("http://broker", "mqtts://"),
            ("mqtt://", "URL"),
            ("mqtt://user:secret@broker", "password_file"),
            ("mqtt://user@:1883", "host"),
            ("mqtt://broker/a+b", "prefix"),
            ("mqtt://broker/%ff", "UTF-8"),
            ("mqtt://broker/yard?x=1", "?"),
            ("mqtt://broker/#", "#"),
            ("bro ker", "host"),
        ] {
            let problem = Address::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert!(!Address::parse("mqtt://user:secret@broker").unwrap_err().contains("secret"));
    }
}
