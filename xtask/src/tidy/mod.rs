//! `tidy`: checks rules that the compiler and clippy do not check.

mod circles;
mod docs;
mod files;
mod imports;
mod packages;
mod quotes;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::root;

pub(crate) fn run() -> Result<()> {
    let mut objections = files::objections()?;
    objections.extend(docs::objections()?);
    objections.extend(packages::objections()?);
    for (name, target) in Metadata::load()?.roots() {
        let modules = imports::Modules::load(&target)?;
        for circle in circles::find(&modules.imports()) {
            let files: Vec<_> = circle
                .iter()
                .map(|module| {
                    let file = modules.file(*module);
                    file.strip_prefix(root()).unwrap_or(file).display().to_string()
                })
                .collect();
            objections.push(format!("{name}: import cycle between {}", files.join(", ")));
        }
    }
    if objections.is_empty() { Ok(()) } else { Err(objections.join("\n").into()) }
}
