//! The settings of `.npmrc` for reaching a registry: addresses, credentials, proxies, certificates. Other settings
//! (`engine-strict`, `min-release-age`, `omit`, …) must not affect the lockfile.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use regex::{Captures, Regex};
use reqwest::header::HeaderValue;

use crate::io::process;

/// `${NAME}` is an environment variable, `${NAME?}` one that may be unset (docs.npmjs.com, ".npmrc").
static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\??\}").ok());

const TRANSPORT: &str = "registry proxy https-proxy http-proxy noproxy ca cafile cert key strict-ssl local-address \
    cache maxsockets";

fn is_transport_setting(name: &str) -> bool {
    TRANSPORT.split(' ').any(|setting| setting == name)
}

/// Settings for the transport, in npm's order: later ones win.
#[derive(Debug, Clone, Default)]
pub(super) struct Npmrc(Vec<(String, String)>);

impl Npmrc {
    /// Reads the files that npm reads: the global one, the user's, and the checkout's.
    pub(super) async fn read(root: &Path) -> Self {
        let mut files: Vec<PathBuf> = Vec::new();
        // Without npm there is no global file, and the user's file is at its default path.
        match process::text(process::command("npm").args(["config", "get", "globalconfig", "userconfig"])).await {
            Ok(output) => files.extend(output.lines().filter_map(|line| Some(line.split_once('=')?.1.into()))),
            Err(_) => files.extend(std::env::home_dir().map(|home| home.join(".npmrc"))),
        }
        files.push(root.join(".npmrc"));
        let texts = files.iter().filter_map(|path| fs_err::read_to_string(path).ok());
        Self(texts.flat_map(|text| parse(&text)).collect())
    }

    /// The text of an `.npmrc` with these settings.
    pub(super) fn text(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        lines.concat()
    }

    /// The credentials for an address: those of the longest matching path, as in npm.
    pub(super) fn login(&self, address: &str) -> Option<HeaderValue> {
        let (_, mut path) = address.split_once(':')?;
        path = path.trim_end_matches('/');
        loop {
            let value = |name: &str| {
                let key = format!("{path}/:{name}");
                let found = self.0.iter().rev().find(|(known, _)| *known == key)?;
                Some(expanded(&found.1)).filter(|value| !value.is_empty())
            };
            let password = || String::from_utf8(BASE64.decode(value("_password")?).ok()?).ok();
            let basic = || Some(BASE64.encode(format!("{}:{}", value("username")?, password()?)));
            let login = value("_authToken")
                .map(|token| format!("Bearer {token}"))
                .or_else(|| value("_auth").or_else(basic).map(|login| format!("Basic {login}")));
            if let Some(login) = login {
                let mut header = HeaderValue::try_from(login).ok()?;
                header.set_sensitive(true);
                return Some(header);
            }
            path = path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| parent.len() > 2)?;
        }
    }
}

/// Whether npm may see an environment variable (`npm_config_…`).
pub(super) fn is_transport(variable: &str) -> bool {
    let lower = variable.to_ascii_lowercase();
    match lower.strip_prefix("npm_config_") {
        None => true,
        Some(name) => name.starts_with("//") || is_transport_setting(&name.replace('_', "-")),
    }
}

fn parse(text: &str) -> Vec<(String, String)> {
    let settings = text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with([';', '#']) {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        // The registry of a scope belongs to the transport, too.
        let kept =
            name.starts_with("//") || name.ends_with(":registry") || is_transport_setting(name.trim_end_matches("[]"));
        kept.then(|| (name.to_owned(), value.to_owned()))
    });
    settings.collect()
}

fn expanded(value: &str) -> String {
    let variable = |found: &Captures<'_>| std::env::var(&found[1]).unwrap_or_default();
    VARIABLE.as_ref().map_or_else(|| value.to_owned(), |pattern| pattern.replace_all(value, variable).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, address: &str) -> Option<String> {
        Npmrc(parse(text)).login(address).map(|header| header.to_str().unwrap().to_owned())
    }

    #[test]
    fn credentials_are_for_paths_below_their_address() {
        let text = "; ours\n//npm.example/:_authToken = outer\n//npm.example/team/:_authToken=\"inner\"\n";
        for (address, expected) in [
            ("https://npm.example", Some("Bearer outer")),
            ("https://npm.example/team/", Some("Bearer inner")),
            ("https://npm.example/team/below", Some("Bearer inner")),
            ("https://npm.example/other", Some("Bearer outer")),
            ("https://npm.example.evil/team", None),
            ("https://npm.example:8443/team", None),
        ] {
            assert_eq!(login(text, address).as_deref(), expected, "{address}");
        }
        assert_eq!(login("//x/:_auth=bWU6cHc=", "http://x").as_deref(), Some("Basic bWU6cHc="));
        assert_eq!(login("//x/:username=me\n//x/:_password=cHc=", "http://x").as_deref(), Some("Basic bWU6cHc="));
        assert_eq!(login("//x/:_authToken=a\n//x/:_authToken=b", "http://x").as_deref(), Some("Bearer b"));
    }

    #[test]
    fn variables_are_replaced_by_the_environment() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(expanded("a ${PATH} b"), format!("a {path} b"));
        assert_eq!(expanded("${NO_SUCH_VARIABLE_HERE?}"), "");
        assert_eq!(expanded("$PATH"), "$PATH");
    }

    #[test]
    fn settings_that_affect_the_lockfile_are_dropped() {
        let text =
            "engine-strict=true\nmin-release-age=7\nomit=optional\nproxy=http://p\nca[]=x\n@a:registry=http://r\n";
        let kept = Npmrc(parse(text)).text();
        assert_eq!(kept, "proxy=http://p\nca[]=x\n@a:registry=http://r\n");
        for (variable, kept) in [
            ("npm_config_cache", true),
            ("NPM_CONFIG_HTTPS_PROXY", true),
            ("npm_config_engine_strict", false),
            ("PATH", true),
        ] {
            assert_eq!(is_transport(variable), kept, "{variable}");
        }
    }
}
