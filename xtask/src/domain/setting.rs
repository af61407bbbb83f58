//! The settings of the image: all environment variables that it reads.
//!
//! The image checks the values at its start. This checks the table: names, defaults and references.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::service::Service;

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
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SettingError {
    #[error("setting name `{0}` is not made of capital letters, digits and underscores")]
    Name(String),
    #[error("there are two settings `{0}`")]
    Twice(String),
    #[error("setting `{setting}`: {what}")]
    Field { setting: String, what: String },
    #[error("service `{service}` names `{setting}`, which is {what}")]
    Service { service: String, setting: String, what: &'static str },
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
            return Err(SettingError::Twice(setting.name.clone()));
        }
    }
    // NAME_FILE is the file of the secret NAME.
    let secret_file = |name: &&str| name.strip_suffix("_FILE").is_some_and(|name| earlier.contains_key(name));
    if let Some(name) = earlier.keys().find(|name| secret_file(name)) {
        return Err(SettingError::Name((*name).to_owned()));
    }
    for service in services {
        let refer = |name: &str, form: Form, what: &'static str| {
            if earlier.get(name).is_some_and(|setting| setting.form == form) {
                return Ok(());
            }
            Err(SettingError::Service { service: service.name.clone(), setting: name.to_owned(), what })
        };
        if let Some(switch) = &service.switch {
            refer(switch, Form::Bool, "not a setting with form `bool`")?;
        }
        if let Some(counts) = &service.start_counts {
            refer(counts, Form::Seconds, "not a setting with form `seconds`")?;
        }
        for endpoint in &service.endpoints {
            refer(&endpoint.setting, Form::Port, "not a setting with form `port`")?;
            for credential in &endpoint.credentials {
                if earlier.get(credential.secret.as_str()).is_none_or(|setting| !setting.secret) {
                    let (service, setting) = (service.name.clone(), credential.secret.clone());
                    return Err(SettingError::Service { service, setting, what: "not a secret setting" });
                }
            }
        }
        for name in service.link.iter().flat_map(|link| references(link)) {
            if name != SCHEME && earlier.get(name).is_none_or(|setting| setting.secret) {
                let (service, setting) = (service.name.clone(), name.to_owned());
                return Err(SettingError::Service { service, setting, what: "not a setting that a link may show" });
            }
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
    fn wrong(&self, what: impl Into<String>) -> SettingError {
        SettingError::Field { setting: self.name.clone(), what: what.into() }
    }

    fn check(&self, earlier: &BTreeMap<&str, &Self>, services: &[Service]) -> Result<(), SettingError> {
        let plain = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        if !self.name.starts_with(|first: char| first.is_ascii_uppercase()) || !self.name.bytes().all(plain) {
            return Err(SettingError::Name(self.name.clone()));
        }
        if self.help.chars().any(|char| char.is_control() || matches!(char, '|' | '"' | '\\' | '$')) {
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
        if let Some(name) = &self.public
            && !services.iter().any(|service| service.name == *name)
        {
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

    #[derive(Deserialize)]
    struct Table {
        settings: Vec<Setting>,
        #[serde(default)]
        services: Vec<Service>,
    }

    fn complete_table(text: &str) -> Result<Vec<Setting>, SettingError> {
        let mut table: Table = toml::from_str(&text.replace("[[settings]]\n", "[[settings]]\nhelp = \"h\"\n")).unwrap();
        complete(&mut table.settings, &table.services)?;
        Ok(table.settings)
    }

    const SERVICE: &str = "[[services]]\nname = \"a\"\ntitle = \"A\"\nready-within = 1\nstop-within = 1\n";

    #[test]
    fn ports_have_the_default_of_their_endpoint() {
        let endpoint = "endpoints = [{ setting = \"A_PORT\", port = 81, path = \"/\", accept = [200] }]\n";
        let port = "[[settings]]\nname = \"A_PORT\"\nform = \"port\"\n";
        let settings = complete_table(&format!("{SERVICE}{endpoint}{port}")).unwrap();
        assert_eq!(settings[0].default.as_deref(), Some("81"));
        let orphan = complete_table(port);
        assert!(matches!(orphan, Err(SettingError::Field { .. })), "{orphan:?}");
        let unknown = complete_table(&format!("{SERVICE}{endpoint}{}", port.replace("A_PORT", "B_PORT")));
        assert!(unknown.is_err(), "{unknown:?}");
        let twice = complete_table(&format!("{SERVICE}{endpoint}{port}default = \"82\"\n"));
        assert!(matches!(twice, Err(SettingError::Field { .. })), "{twice:?}");
    }

    #[test]
    fn a_switch_is_a_bool() {
        let service = format!("{SERVICE}switch = \"A_ENABLED\"\n");
        let setting = |form: &str| format!("[[settings]]\nname = \"A_ENABLED\"\nform = \"{form}\"\n");
        assert!(complete_table(&format!("{service}{}", setting("bool"))).is_ok());
        let text = complete_table(&format!("{service}{}", setting("text")));
        assert!(matches!(text, Err(SettingError::Service { .. })), "{text:?}");
    }

    #[test]
    fn defaults_may_contain_earlier_settings_but_no_secrets() {
        let first = "[[settings]]\nname = \"A\"\nform = \"host\"\ndefault = \"127.0.0.1\"\n";
        let second = "[[settings]]\nname = \"B\"\nform = \"origin\"\ndefault = \"http://{A}\"\n";
        let settings = complete_table(&format!("{first}{second}")).unwrap();
        assert_eq!(resolve(&settings[1], &settings).as_deref(), Some("http://127.0.0.1"));
        assert!(complete_table(&format!("{second}{first}")).is_err());
        let secret = "[[settings]]\nname = \"A\"\nform = \"text\"\nsecret = true\n";
        assert!(complete_table(&format!("{secret}{second}")).is_err());
    }

    #[test]
    fn special_characters_and_duplicates_are_refused() {
        for (name, default) in [("a", "x"), ("A;id", "x"), ("A", "$(id)"), ("A", "a b"), ("A", "'")] {
            let text = format!("[[settings]]\nname = \"{name}\"\nform = \"text\"\ndefault = \"{default}\"\n");
            assert!(complete_table(&text).is_err(), "{name} {default}");
        }
        let settings = "[[settings]]\nname = \"A\"\nform = \"text\"\n";
        assert_eq!(complete_table(&settings.repeat(2)).err(), Some(SettingError::Twice("A".into())));
        // The secret A would be read from the same variable.
        let file = settings.replace("\"A\"", "\"A_FILE\"");
        assert!(complete_table(&file).is_ok());
        assert_eq!(complete_table(&format!("{settings}{file}")).err(), Some(SettingError::Name("A_FILE".into())));
    }
}
