//! The modules of a crate and the imports between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, Meta, UseTree};

use crate::Result;

/// The files of a crate that are modules, the root first.
pub(super) struct Modules(Vec<Module>);

/// A module that has a file.
struct Module {
    file: PathBuf,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The paths of its `use` items.
    names: BTreeMap<String, Vec<String>>,
    /// All paths in it to modules of the crate.
    paths: BTreeSet<Vec<String>>,
}

impl Modules {
    /// Reads the modules of a crate from its root file. Skips tests.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let mut modules = Self(Vec::new());
        modules.add(root.to_owned(), None)?;
        Ok(modules)
    }

    fn add(&mut self, file: PathBuf, parent: Option<usize>) -> Result<usize> {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed: File = syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut reader = Reader::default();
        reader.visit_file(&parsed);
        let number = self.0.len();
        self.0.push(Module { file: file.clone(), parent, children: BTreeMap::new(), names: reader.names, paths: reader.paths });
        for item in &parsed.items {
            let Item::Mod(ItemMod { ident, content: None, attrs, .. }) = item else { continue };
            if is_for_tests(attrs) {
                continue;
            }
            let name = ident.to_string();
            // A file with a `path` attribute belongs to another crate.
            if let Some(file) = file_of(&file, &name, parent.is_none()).filter(|_| !has_path(attrs)) {
                let child = self.add(file, Some(number))?;
                self.0[number].children.insert(name, child);
            }
        }
        Ok(number)
    }

    /// The file of a module.
    pub(super) fn file(&self, module: usize) -> &Path {
        &self.0[module].file
    }

    /// The modules that each module imports from. An import from a containing module does not count, because a module and its
    /// submodules belong together.
    pub(super) fn imports(&self) -> Vec<BTreeSet<usize>> {
        let of = |module: usize| self.0[module].paths.iter().filter_map(move |path| self.resolve(module, path, 0));
        let is_import = |from: usize, to: usize| !std::iter::successors(Some(from), |at| self.0[*at].parent).any(|at| at == to);
        (0..self.0.len()).map(|module| of(module).filter(|target| is_import(module, *target)).collect()).collect()
    }

    /// The module that defines the item of a path.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.0[from].parent?,
            name => *self.0[from].children.get(name)?,
        };
        let mut module = start;
        for (at, name) in rest.iter().enumerate() {
            let Module { parent, children, names, .. } = &self.0[module];
            match (name.as_str(), children.get(name), names.get(name)) {
                ("super", ..) => module = (*parent)?,
                (_, Some(child), _) => module = *child,
                // An alias of an item of this crate or another one.
                (_, None, Some(meant)) if depth < 8 => {
                    let whole = [meant.as_slice(), &rest[at + 1..]].concat();
                    return self.resolve(module, &whole, depth + 1);
                }
                _ => break,
            }
        }
        Some(module)
    }
}

/// Returns the file of a submodule.
fn file_of(parent: &Path, name: &str, is_root: bool) -> Option<PathBuf> {
    let directory = parent.parent()?;
    let stem = parent.file_stem()?.to_str()?;
    let inside = if is_root || stem == "mod" { directory.to_owned() } else { directory.join(stem) };
    [inside.join(format!("{name}.rs")), inside.join(name).join("mod.rs")].into_iter().find(|file| file.exists())
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        _ => false,
    })
}

fn has_path(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("path"))
}

/// Collects the paths of a file.
#[derive(Default)]
struct Reader {
    names: BTreeMap<String, Vec<String>>,
    paths: BTreeSet<Vec<String>>,
}

impl Reader {
    fn read_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &str| [before, &[name.to_owned()]].concat();
        match tree {
            UseTree::Path(path) => self.read_use(&with(&path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.read_use(before, item)),
            UseTree::Glob(_) => self.note(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                if let Some(last) = before.last() {
                    self.names.insert(last.clone(), before.to_vec());
                }
                self.note(before.to_vec());
            }
            UseTree::Name(name) => {
                let (name, path) = (name.ident.to_string(), with(&name.ident.to_string()));
                self.names.insert(name, path.clone());
                self.note(path);
            }
            UseTree::Rename(rename) => {
                let path = with(&rename.ident.to_string());
                self.names.insert(rename.rename.to_string(), path.clone());
                self.note(path);
            }
        }
    }

    fn note(&mut self, path: Vec<String>) {
        self.paths.insert(path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        // An inline module is part of its file. Its paths that begin with `super` lead to the same file and do not count.
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.read_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.note(names);
        }
        visit::visit_path(self, path);
    }
}
