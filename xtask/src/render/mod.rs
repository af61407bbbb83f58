//! Renders `image/` and the generated parts of the README and `docs/` from the stack and the lock.
//!
//! `templates/X.j2` becomes `image/X`, once for each GPU, flavor or workload if its path has `{gpu}`, `{flavor}` or
//! `{workload}`. `templates/pages/NAME.md.j2` is put into `README.md` or a page of `docs/`, between the markers
//! `<!-- @generated NAME -->` and `<!-- @end NAME -->`. Templates see one [`context::Context`] (and their `gpu`, `flavor`
//! or `workload`); undefined names are errors. Values from upstreams were validated when the lock was read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::io::files;

mod context;
mod pages;

const TEMPLATES: &str = "templates";
const PAGES: &str = "pages";

/// A rendered file, by its path below the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) path: PathBuf,
    pub(crate) contents: String,
}

/// Renders everything, and writes nothing.
pub(crate) fn render(root: &Path, stack: &Stack, lock: &Lock) -> anyhow::Result<Vec<Rendered>> {
    let templates = root.join(TEMPLATES);
    let context = context::Context::new(stack, lock)?;
    let whole = Value::from(Serde(&context));
    let mut rendered = Vec::new();
    let mut parts = Vec::new();
    let mut names = Vec::new();
    let mut environment = environment()?;
    // All of them first, because templates import from each other.
    for path in files_of(&templates, "j2")? {
        let source = fs_err::read_to_string(templates.join(&path))?;
        let name = path.to_string_lossy().into_owned();
        let added = environment.add_template_owned(name.clone(), source);
        added.with_context(|| format!("cannot parse {TEMPLATES}/{name}"))?;
        names.push(name);
    }
    for name in &names {
        let fill = |context: &Value| {
            let rendered = environment.get_template(name).and_then(|template| template.render(context));
            rendered.with_context(|| format!("cannot render {TEMPLATES}/{name}"))
        };
        let output = Path::new(name).with_extension("");
        if name.contains('{') {
            for (kind, each, its) in context.each().filter(|(kind, ..)| name.contains(&format!("{{{kind}}}"))) {
                let its = Value::from(BTreeMap::from([(kind, its)]));
                let contents = fill(&minijinja::context! { ..its, ..whole.clone() })?;
                let path = output.to_string_lossy().replace(&format!("{{{kind}}}"), each);
                rendered.push(Rendered { path: Path::new("image").join(path), contents });
            }
            continue;
        }
        let contents = fill(&whole)?;
        if let Ok(part) = output.strip_prefix(PAGES) {
            parts.push((part.with_extension("").to_string_lossy().into_owned(), contents));
        } else {
            rendered.push(Rendered { path: Path::new("image").join(output), contents });
        }
    }
    rendered.extend(pages::fill(root, &parts)?);
    Ok(rendered)
}

fn environment() -> anyhow::Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    // No automatic escaping: templates use the filters `shell` and `json`.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let refused = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    environment.add_filter("shell", move |value: String| {
        let quoted = shlex::try_quote(&value).map(Cow::into_owned);
        quoted.map_err(|error| refused(format!("cannot quote {value:?}: {error}")))
    });
    // JSON is valid YAML, so it also quotes values in compose files.
    environment.add_filter("json", move |value: Value| {
        serde_json::to_string(&value).map_err(|error| refused(format!("cannot write as JSON: {error}")))
    });
    Ok(environment)
}

/// Every file below a folder that has the extension, sorted.
fn files_of(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = files::below(folder)?;
    found.retain(|path| path.extension().is_some_and(|its| its == extension));
    Ok(found)
}
