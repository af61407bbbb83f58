//! The settings of the image: all environment variables that it reads.
//!
//! The image checks the values at its start. This checks the table: names, defaults and references.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::service::Service;
use super::text::is_special;

/// One setting of `stack.toml`, as templates see it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) help: String,
    /// May contain earlier settings in braces. A port has the default of its endpoint.
    pub(crate) default: Option<String>,
    /// The default in `docker-compose.yml`, which the container gets as a set value.
    pub(crate) compose_default: Option<String>,
    /// How it is generated if it is not set; stored in `/data/secrets`.
    pub(crate) generated: Option<Generator>,
    #[serde(default)]
    pub(crate) secret: bool,
    /// The service that needs it to be published beyond the loopback.
    pub(crate) public: Option<String>,
    /// Read by `docker-compose.yml` only.
    #[serde(default)]
    pub(crate) compose: bool,
    /// A value for `.env.example`.
    pub(crate) example: Option<String>,
}

/// The form of a value: a function in `image/rootfs/opt/stack/lib/settings/forms.mjs`.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    Text,
    Token,
    AdminKey,
    Name,
    Bool,
    Integer,
    /// One or more.
    Seconds,
    /// A whole number above zero.
    Count,
    /// Minutes, hours or days.
    Interval,
    Layers,
    /// A file, or a name on the Hugging Face Hub.
    Model,
    Port,
    Path,
    Url,
    Origin,
    Host,
    /// Separated by commas.
    Hosts,
    /// Addresses and CIDR blocks, separated by commas.
    Networks,
    Address,
    /// When a sign-in is needed.
    Access,
    Email,
    Password,
    /// Longer than a password.
    Passphrase,
    Sha256,
    Hex64,
    Pem,
}

/// How a secret is generated.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Generator {
    /// 64 hexadecimal digits.
    Hex64,
    /// 43 letters, digits, `-` and `_`.
    Token,
    /// From the backend's `keygen`, for its instance name and secret.
    ConvexAdminKey,
    /// An RSA key; its public half is the key set.
    Jwt,
}

/// A name for use in braces: `https` with a certificate, `http` without one.
const SCHEME: &str = "SCHEME";

/// What is wrong with the table of settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingError(String);

impl SettingError {
    fn name(name: &str) -> Self {
        Self(format!("setting name `{name}` is not made of capital letters, digits and underscores"))
    }
}

/// Sets the default of each port from its endpoint, and checks names, forms and references.
pub(crate) fn complete(settings: &mut [Setting], services: &[Service]) -> Result<(), SettingError> {
    for endpoint in services.iter().flat_map(|service| &service.endpoints) {
        if let Some(setting) = settings.iter_mut().find(|setting| setting.name == endpoint.setting) {
            if setting.default.is_some() {
                return Err(setting.wrong("a port has the default of its endpoint: leave it out here"));
            }
            setting.default = Some(endpoint.port.to_string());
        }
    }
    let mut earlier = BTreeMap::new();
    for setting in settings.iter() {
        setting.check(&earlier, services)?;
        if earlier.insert(setting.name.as_str(), setting).is_some() {
            return Err(SettingError(format!("there are two settings `{}`", setting.name)));
        }
    }
    // NAME_FILE is the file of the secret NAME.
    let secret_file = |name: &&str| name.strip_suffix("_FILE").is_some_and(|name| earlier.contains_key(name));
    if let Some(name) = earlier.keys().find(|name| secret_file(name)) {
        return Err(SettingError::name(name));
    }
    for service in services {
        let refer = |name: &str, what: &str, fits: fn(&Setting) -> bool| match earlier.get(name) {
            Some(setting) if fits(setting) => Ok(()),
            _ => Err(SettingError(format!("service `{}` names `{name}`, which is not a {what}", service.name))),
        };
        if let Some(switch) = &service.switch {
            refer(switch, "setting with form `bool`", |it| it.form == Form::Bool)?;
        }
        if let Some(counts) = &service.start_counts {
            refer(counts, "setting with form `seconds`", |it| it.form == Form::Seconds)?;
        }
        for endpoint in &service.endpoints {
            refer(&endpoint.setting, "setting with form `port`", |it| it.form == Form::Port)?;
            for credential in &endpoint.credentials {
                refer(&credential.secret, "secret setting", |it| it.secret)?;
            }
        }
        for name in service.link.iter().flat_map(|link| references(link)).filter(|name| *name != SCHEME) {
            refer(name, "setting that a link may show", |it| !it.secret)?;
        }
    }
    Ok(())
}

/// The default of a setting, with the defaults of settings in braces.
pub(crate) fn resolve(setting: &Setting, settings: &[Setting]) -> Option<String> {
    let default = setting.default.as_ref()?;
    // Ends, because `complete` allows earlier settings only.
    Some(references(default).fold(default.clone(), |text, name| {
        let named = settings.iter().find(|other| other.name == name).and_then(|other| resolve(other, settings));
        let scheme = (name == SCHEME).then(|| "http".to_owned());
        text.replace(&format!("{{{name}}}"), &named.or(scheme).unwrap_or_default())
    }))
}

/// The names in braces.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

impl Setting {
    fn wrong(&self, what: impl fmt::Display) -> SettingError {
        SettingError(format!("setting `{}`: {what}", self.name))
    }

    fn check(&self, earlier: &BTreeMap<&str, &Self>, services: &[Service]) -> Result<(), SettingError> {
        let plain = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        if !self.name.starts_with(|first: char| first.is_ascii_uppercase()) || !self.name.bytes().all(plain) {
            return Err(SettingError::name(&self.name));
        }
        if is_special(&self.help, "|\"\\$") {
            return Err(self.wrong("its help has characters that are special in tables or scripts"));
        }
        if self.generated.is_some() && (self.default.is_some() || !self.secret) {
            return Err(self.wrong("a generated setting must be a secret without default"));
        }
        if self.secret && (self.default.is_some() || self.compose_default.is_some() || self.compose) {
            return Err(self.wrong("a secret has no default and cannot be for compose only"));
        }
        if self.form == Form::Port && self.default.is_none() {
            return Err(self.wrong("no endpoint has this port"));
        }
        if let Some(name) = self.public.as_ref().filter(|name| services.iter().all(|it| it.name != **name)) {
            return Err(self.wrong(format!("`{name}` is not a service")));
        }
        for text in self.default.iter().chain(&self.compose_default).chain(&self.example) {
            let mut literal = text.clone();
            for name in references(text) {
                if name != SCHEME && earlier.get(name).is_none_or(|other| other.secret || other.compose) {
                    return Err(self.wrong(format!("{{{name}}} is not an earlier setting that a default may contain")));
                }
                literal = literal.replace(&format!("{{{name}}}"), "");
            }
            if !literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@,".contains(&byte)) {
                return Err(self.wrong(format!("{text:?} has special characters")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Completes the settings of each name with its other fields, and the service `a` with some fields.
    fn completed(settings: &[(&str, &str)], service: &str) -> Result<Vec<Setting>, String> {
        let setting = |(name, more)| toml::from_str(&format!("name = {name:?}\nhelp = \"h\"\n{more}")).unwrap();
        let mut settings: Vec<Setting> = settings.iter().copied().map(setting).collect();
        let service = format!("name = \"a\"\ntitle = \"A\"\nready-within = 1\nstop-within = 1\n{service}");
        complete(&mut settings, &[toml::from_str(&service).unwrap()]).map_err(|error| error.to_string())?;
        Ok(settings)
    }

    const TEXT: &str = "form = \"text\"";

    #[test]
    fn ports_have_the_default_of_their_endpoint() {
        let endpoint = "endpoints = [{ setting = \"A_PORT\", port = 81, path = \"/\", accept = [200] }]";
        let port = "form = \"port\"";
        assert_eq!(completed(&[("A_PORT", port)], endpoint).unwrap()[0].default.as_deref(), Some("81"));
        for (settings, service, expected) in [
            (("A_PORT", port), "", "setting `A_PORT`: no endpoint has this port"),
            (("B_PORT", port), endpoint, "setting `B_PORT`: no endpoint has this port"),
            (("B", TEXT), endpoint, "service `a` names `A_PORT`, which is not a setting with form `port`"),
            (
                ("A_PORT", "form = \"port\"\ndefault = \"82\""),
                endpoint,
                "setting `A_PORT`: a port has the default of its endpoint: leave it out here",
            ),
        ] {
            assert_eq!(completed(&[settings], service).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_switch_is_a_bool() {
        let switch = "switch = \"A_ENABLED\"";
        assert!(completed(&[("A_ENABLED", "form = \"bool\"")], switch).is_ok());
        let text = completed(&[("A_ENABLED", TEXT)], switch);
        assert_eq!(text.unwrap_err(), "service `a` names `A_ENABLED`, which is not a setting with form `bool`");
    }

    #[test]
    fn defaults_may_contain_earlier_settings_but_no_secrets() {
        let first = ("A", "form = \"host\"\ndefault = \"127.0.0.1\"");
        let second = ("B", "form = \"origin\"\ndefault = \"http://{A}\"");
        let settings = completed(&[first, second], "").unwrap();
        assert_eq!(resolve(&settings[1], &settings).as_deref(), Some("http://127.0.0.1"));
        assert!(completed(&[second, first], "").is_err());
        assert!(completed(&[("A", "form = \"text\"\nsecret = true"), second], "").is_err());
    }

    #[test]
    fn special_characters_and_duplicates_are_refused() {
        for (name, default) in [("a", "x"), ("A;id", "x"), ("A", "$(id)"), ("A", "a b"), ("A", "'")] {
            let refused = completed(&[(name, &format!("{TEXT}\ndefault = {default:?}"))], "");
            assert!(refused.is_err(), "{name} {default}");
        }
        assert_eq!(completed(&[("A", TEXT), ("A", TEXT)], "").unwrap_err(), "there are two settings `A`");
        // The secret A would be read from the same variable.
        assert!(completed(&[("A_FILE", TEXT)], "").is_ok());
        let refused = completed(&[("A", TEXT), ("A_FILE", TEXT)], "").unwrap_err();
        assert!(refused.starts_with("setting name `A_FILE` is not made of"), "{refused}");
    }
}
