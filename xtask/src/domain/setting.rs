//! The settings of the image: every variable that the container understands.
//!
//! The image checks at start what people set; here the table itself is checked, so that no default and no reference
//! in it is wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::service::Service;

/// One variable, as `stack.toml` describes it and as templates see it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) help: String,
    /// With earlier settings in braces; a port's is its endpoint's.
    #[serde(default)]
    pub(crate) default: Option<String>,
    /// What compose says when nobody does; inside the container it then counts as said.
    #[serde(default)]
    pub(crate) compose_default: Option<String>,
    /// How it is made when nobody gives one; kept in `/data/secrets`.
    #[serde(default)]
    pub(crate) generated: Option<Generator>,
    #[serde(default)]
    pub(crate) secret: bool,
    /// The service that cannot be published beyond the loopback without it.
    #[serde(default)]
    pub(crate) public: Option<String>,
    /// Read by `docker-compose.yml` only.
    #[serde(default)]
    pub(crate) compose: bool,
    /// A value for the example file.
    #[serde(default)]
    pub(crate) example: Option<String>,
}

/// What a value looks like. Each one is a function of `image/rootfs/opt/stack/lib/settings/forms.mjs`.
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
    /// A file, or a name on Hugging Face's hub.
    Model,
    Port,
    Path,
    Url,
    Origin,
    Host,
    /// Several, with commas between.
    Hosts,
    /// Addresses and CIDR blocks, with commas between.
    Networks,
    Address,
    /// When to ask for the sign-in.
    Access,
    Email,
    Password,
    /// A longer one.
    Passphrase,
    Sha256,
    Hex64,
    Pem,
}

/// How a secret is made.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Generator {
    /// 64 hexadecimal digits.
    Hex64,
    /// 43 letters, digits, `-` and `_`.
    Token,
    /// What the backend's own `keygen` makes of instance name and secret.
    ConvexAdminKey,
    /// An RSA key; its public half becomes the key set.
    Jwt,
}

/// No setting, but it may be named as one: `https` when there is a certificate, `http` when there is none.
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
    #[error("service `{service}` names the setting `{setting}`, which is {what}")]
    Service { service: String, setting: String, what: &'static str },
}

/// Gives each port its endpoint's default, and checks names, forms and references.
pub(crate) fn complete(settings: &mut [Setting], services: &[Service]) -> Result<(), SettingError> {
    for endpoint in services.iter().flat_map(|service| &service.endpoints) {
        if let Some(setting) = settings.iter_mut().find(|setting| setting.name == endpoint.setting) {
            if setting.default.is_some() {
                return Err(setting.wrong("a port's default is its endpoint's: leave it out here"));
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
    // NAME_FILE must never be two things.
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
            refer(switch, Form::Bool, "no `bool` of the table of settings")?;
        }
        if let Some(counts) = &service.start_counts {
            refer(counts, Form::Seconds, "no `seconds` of the table of settings")?;
        }
        for endpoint in &service.endpoints {
            refer(&endpoint.setting, Form::Port, "no `port` of the table of settings")?;
            for credential in &endpoint.credentials {
                if earlier.get(credential.secret.as_str()).is_none_or(|setting| !setting.secret) {
                    let (service, setting) = (service.name.clone(), credential.secret.clone());
                    return Err(SettingError::Service { service, setting, what: "no secret of the table of settings" });
                }
            }
        }
        for name in service.link.iter().flat_map(|link| references(link)) {
            if name != SCHEME && earlier.get(name).is_none_or(|setting| setting.secret) {
                let (service, setting) = (service.name.clone(), name.to_owned());
                return Err(SettingError::Service { service, setting, what: "no setting that a link may show" });
            }
        }
    }
    Ok(())
}

/// The default of a setting when nobody sets anything, with the defaults of those that it names.
pub(crate) fn resolve(setting: &Setting, settings: &[Setting]) -> Option<String> {
    let default = setting.default.as_ref()?;
    // The table was checked: what is named stands earlier, so this ends.
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
            return Err(self.wrong("its help has characters that a table or a script would take for its own"));
        }
        if self.generated.is_some() && (self.default.is_some() || !self.secret) {
            return Err(self.wrong("what is generated is a secret and has no default"));
        }
        if self.secret && (self.default.is_some() || self.compose_default.is_some() || self.compose) {
            return Err(self.wrong("a secret has no default and is no matter of compose alone"));
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
                    return Err(self.wrong(format!("{{{name}}} is not an earlier setting that may stand in a default")));
                }
                literal = literal.replace(&format!("{{{name}}}"), "");
            }
            if !literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@,".contains(&byte)) {
                return Err(self.wrong(format!("{text:?} is not plain")));
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
    fn a_port_has_the_default_of_its_endpoint() {
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
    fn defaults_name_earlier_settings_only_and_never_a_secret() {
        let first = "[[settings]]\nname = \"A\"\nform = \"host\"\ndefault = \"127.0.0.1\"\n";
        let second = "[[settings]]\nname = \"B\"\nform = \"origin\"\ndefault = \"http://{A}\"\n";
        let settings = complete_table(&format!("{first}{second}")).unwrap();
        assert_eq!(resolve(&settings[1], &settings).as_deref(), Some("http://127.0.0.1"));
        assert!(complete_table(&format!("{second}{first}")).is_err());
        let secret = "[[settings]]\nname = \"A\"\nform = \"text\"\nsecret = true\n";
        assert!(complete_table(&format!("{secret}{second}")).is_err());
    }

    #[test]
    fn what_a_script_would_take_for_its_own_is_refused() {
        for (name, default) in [("a", "x"), ("A;id", "x"), ("A", "$(id)"), ("A", "a b"), ("A", "'")] {
            let text = format!("[[settings]]\nname = \"{name}\"\nform = \"text\"\ndefault = \"{default}\"\n");
            assert!(complete_table(&text).is_err(), "{name} {default}");
        }
        let settings = "[[settings]]\nname = \"A\"\nform = \"text\"\n";
        assert_eq!(complete_table(&settings.repeat(2)).err(), Some(SettingError::Twice("A".into())));
        // A secret of the name A would be read from the same variable.
        let file = settings.replace("\"A\"", "\"A_FILE\"");
        assert!(complete_table(&file).is_ok());
        assert_eq!(complete_table(&format!("{settings}{file}")).err(), Some(SettingError::Name("A_FILE".into())));
    }
}
