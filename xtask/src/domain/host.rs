//! Names of hosts and repositories.

/// Whether `host`, with or without a port, is the loopback. Docker and skopeo use plain HTTP for registries there
/// only.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let name = name.unwrap_or(host).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host and port of an address or an image name: the part between `://`, if there is one, and `/`.
pub(crate) fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// `owner/name`, in the characters that GitHub allows.
pub(crate) fn is_repository(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    text.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_recognized() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["registry-1.docker.io", "10.0.0.1:5000", "localhost.example", "127.0.0.1.example", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_host_of_addresses_and_of_image_names() {
        for (address, host) in [
            ("http://127.0.0.1:4873/npm/", "127.0.0.1:4873"),
            ("https://[::1]:5000", "[::1]:5000"),
            ("ghcr.io/owner/name", "ghcr.io"),
            ("localhost:5000/x", "localhost:5000"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
