//! Renders `image/` and the generated parts of the README and `docs/` from the stack and the lock.
//!
//! `templates/X.j2` becomes `image/X`, once for each GPU, flavor or workload if its path has `{gpu}`, `{flavor}` or
//! `{workload}`. `templates/pages/NAME.md.j2` is put into `README.md` or a page of `docs/`, between the markers
//! `<!-- @generated NAME -->` and `<!-- @end NAME -->`. Templates see one [`context::Context`] (and their `gpu`, `flavor`
//! or `workload`); undefined names are errors. Values from upstreams were validated when the lock was read.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

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
    let whole = minijinja::Value::from(Serde(&context));
    let mut rendered = Vec::new();
    let mut parts = Vec::new();
    let mut sources = Vec::new();
    for path in template_files(&templates)? {
        let source = fs_err::read_to_string(templates.join(&path))?;
        sources.push((path.to_string_lossy().into_owned(), path, source));
    }
    // All of them first, because templates import from each other.
    let mut environment = environment()?;
    for (name, _, source) in &sources {
        environment.add_template(name, source).with_context(|| format!("cannot parse {TEMPLATES}/{name}"))?;
    }
    for (name, path, _) in &sources {
        let fill = |context: &minijinja::Value| {
            let rendered = environment.get_template(name).and_then(|template| template.render(context));
            rendered.with_context(|| format!("cannot render {TEMPLATES}/{name}"))
        };
        let output = path.with_extension("");
        if name.contains('{') {
            for (kind, each, its) in context.each().filter(|(kind, ..)| name.contains(&format!("{{{kind}}}"))) {
                let its = minijinja::Value::from(std::collections::BTreeMap::from([(kind, its)]));
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

fn environment<'a>() -> anyhow::Result<Environment<'a>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    // No automatic escaping: templates use the filters `shell` and `json`.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.add_filter("shell", |value: String| {
        shlex::try_quote(&value).map(std::borrow::Cow::into_owned).map_err(|error| {
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("cannot quote {value:?}: {error}"))
        })
    });
    // JSON is valid YAML, so it also quotes values in compose files.
    environment.add_filter("json", |value: minijinja::Value| {
        serde_json::to_string(&value).map_err(|error| {
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("cannot write as JSON: {error}"))
        })
    });
    Ok(environment)
}

/// Every `*.j2` below `templates/`, sorted.
fn template_files(templates: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = files::below(templates)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "j2"));
    Ok(found)
}
