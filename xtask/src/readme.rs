//! `readme`: writes the README of each published crate from the documentation of its `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Lit, Meta, MetaNameValue, Token, punctuated::Punctuated};

use crate::Result;
use crate::metadata::Metadata;

const NOTE: &str = "<!-- Written by `cargo xtask readme` from the documentation in src/lib.rs. -->";
const END: &str = "## Licence\n\nMIT or Apache-2.0, at your option.\n";

/// Writes the files.
pub(crate) fn run() -> Result<()> {
    for (path, text) in texts()? {
        fs::write(path, text)?;
    }
    Ok(())
}

/// Returns an objection for each file that is out of date.
pub(crate) fn objections() -> Result<Vec<String>> {
    let stale = texts()?.into_iter().filter(|(path, text)| !fs::read_to_string(path).is_ok_and(|old| old == *text));
    Ok(stale.map(|(path, _)| format!("{}: it is out of date; run `cargo xtask readme`", path.display())).collect())
}

/// The path and the text of each README.
fn texts() -> Result<Vec<(PathBuf, String)>> {
    let mut texts = Vec::new();
    for package in Metadata::load()?.published() {
        let text = format!("{NOTE}\n# {}\n\n{}\n{END}", package.name, markdown(&documentation(&package.dir.join("src/lib.rs"))?));
        texts.push((package.dir.join("README.md"), text));
    }
    Ok(texts)
}

/// Reads the documentation of the crate with this root file, as rustdoc does with default features.
fn documentation(file: &Path) -> Result<String> {
    let parsed = syn::parse_file(&fs::read_to_string(file)?).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(parsed.attrs.iter().filter_map(line).map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned() + "\n").collect())
}

/// The line of a `doc` attribute.
fn line(attribute: &Attribute) -> Option<String> {
    let value = match &attribute.meta {
        Meta::NameValue(value) => value.clone(),
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let metas = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
            // A condition with `not` is for a disabled feature.
            match (metas.first()?, metas.get(1)?) {
                (Meta::NameValue(_), Meta::NameValue(value)) => value.clone(),
                _ => return None,
            }
        }
        _ => return None,
    };
    match value {
        MetaNameValue { path, value: Expr::Lit(literal), .. } if path.is_ident("doc") => match literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Converts documentation to Markdown for a file: headings are one level lower, code has no hidden lines, and links to items are code.
fn markdown(documentation: &str) -> String {
    let definitions: Vec<_> = documentation.lines().filter_map(definition).collect();
    let mut fence: Option<bool> = None;
    let mut lines = Vec::new();
    for line in documentation.lines() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(info), None) => {
                let is_rust = matches!(info.split(',').next(), Some("" | "rust" | "no_run" | "ignore" | "compile_fail"));
                fence = Some(is_rust);
                let indent = &line[..line.len() - line.trim_start().len()];
                lines.push(if is_rust { format!("{indent}```rust") } else { line.to_owned() });
            }
            (Some(_), Some(_)) => {
                fence = None;
                lines.push(line.to_owned());
            }
            (None, Some(is_rust)) => {
                let code = line.trim_start();
                if !is_rust || !(code == "#" || code.starts_with("# ")) {
                    lines.push(line.to_owned());
                }
            }
            (None, None) if line.starts_with('#') => lines.push(format!("#{line}")),
            (None, None) => match definition(line) {
                Some((_, target)) if !target.contains("://") => {}
                Some(_) => lines.push(line.to_owned()),
                None => lines.push(without_item_links(line, &definitions)),
            },
        }
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

/// Splits the definition of a link, ``[`name`]: target``, into the name and the target.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("[`")?.split_once("`]: ")
}

/// Replaces links to items by code. Links with a URL remain.
fn without_item_links(line: &str, definitions: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        text.push_str(before);
        let (target, end) = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((target, end)) => (Some(target), end),
            None => (definitions.iter().find(|(defined, _)| *defined == name).map(|(_, target)| *target), after),
        };
        match target {
            Some(url) if url.contains("://") => text.push_str(&format!("[`{name}`]{}", &after[..after.len() - end.len()])),
            _ => text.push_str(&format!("`{name}`")),
        }
        rest = end;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_items_become_code_and_urls_remain() {
        let text = "See [`Store`], [`Limit`](lock_core::ErrorKind::Limit), [`a()`] and [`fcntl(2)`].\n\n\
                    [`a()`]: crate::a\n[`fcntl(2)`]: https://example.org/fcntl\n";
        assert_eq!(markdown(text), "See `Store`, `Limit`, `a()` and [`fcntl(2)`].\n\n[`fcntl(2)`]: https://example.org/fcntl\n");
    }

    #[test]
    fn headings_are_lower_and_hidden_lines_absent() {
        let text = "# Examples\n```no_run\n# let x = 1;\n#[derive(Debug)]\nstruct A;\n```\n```console\n# root\n```\n";
        assert_eq!(markdown(text), "## Examples\n```rust\n#[derive(Debug)]\nstruct A;\n```\n```console\n# root\n```\n");
    }
}
