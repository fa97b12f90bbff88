//! A source file as the rules see it: which paths it uses, where, and whether in test code.
//!
//! Names are resolved through the file's own `use` items, so that `thread::spawn` after
//! `use std::thread` is `std::thread::spawn`. Macro arguments are read as tokens. What is *not* seen:
//! re-exports from other files and types; clippy's `disallowed_methods` covers those.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Finding;

/// A path that the file names.
#[derive(Debug)]
pub(super) struct Use {
    /// `std::thread::spawn`; a glob import ends in `*`.
    pub(super) path: String,
    pub(super) line: usize,
    /// Whether it stands in an item that only tests compile.
    pub(super) in_test: bool,
}

/// An excuse from a rule: `// tidy: expect(rule, reason = "…")`.
#[derive(Debug)]
pub(super) struct Excuse {
    pub(super) rule: String,
    pub(super) has_reason: bool,
    pub(super) line: usize,
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct Source {
    /// Path from the workspace's root.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) uses: Vec<Use>,
    /// Lines of `#[ignore]`.
    pub(super) ignored_tests: Vec<usize>,
    /// The first line with the keyword `unsafe`.
    pub(super) first_unsafe: Option<usize>,
    /// Whether an attribute in this file opens `unsafe_code` and says why.
    pub(super) opens_unsafe: bool,
    /// Whether an attribute of this file forbids `unsafe_code`.
    pub(super) forbids_unsafe: bool,
    pub(super) excuses: Vec<Excuse>,
}

impl Source {
    /// Parses a file; text that is no Rust is a finding.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let file = syn::parse_file(text).map_err(|error| {
            Finding::new(path, error.span().start().line, format!("does not parse: {error}"))
        })?;
        let mut imports = Imports::default();
        imports.visit_file(&file);
        let mut reader = Reader {
            aliases: imports.aliases,
            in_test: is_test_file(path),
            uses: Vec::new(),
            ignored_tests: Vec::new(),
            opens_unsafe: false,
            forbids_unsafe: false,
        };
        reader.visit_file(&file);
        let tokens: TokenStream = text.parse().unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            uses: reader.uses,
            ignored_tests: reader.ignored_tests,
            first_unsafe: first_keyword(tokens, "unsafe"),
            opens_unsafe: reader.opens_unsafe,
            forbids_unsafe: reader.forbids_unsafe,
            excuses: excuses(text),
        })
    }

    /// The package's folder.
    pub(super) fn folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Whether the file is compiled for tests or benchmarks only.
    pub(super) fn is_test(&self) -> bool {
        is_test_file(&self.path)
    }

    /// Whether this is a library's or binary's first file.
    pub(super) fn is_crate_root(&self) -> bool {
        matches!(self.path.split_once('/'), Some((_, "src/lib.rs" | "src/main.rs")))
    }
}

fn is_test_file(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    parts.iter().any(|part| matches!(*part, "tests" | "benches" | "tests.rs"))
}

fn excuses(text: &str) -> Vec<Excuse> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(rest) = line.trim().strip_prefix("// tidy: expect(") else { continue };
        let (rule, reason) = rest.split_once(',').unwrap_or((rest.trim_end_matches(')'), ""));
        let reason = reason.trim().strip_prefix("reason = \"").unwrap_or_default();
        let has_reason = reason.strip_suffix("\")").is_some_and(|reason| !reason.trim().is_empty());
        found.push(Excuse { rule: rule.trim().to_owned(), has_reason, line: index + 1 });
    }
    found
}

fn first_keyword(tokens: TokenStream, keyword: &str) -> Option<usize> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == keyword => Some(ident.span().start().line),
        TokenTree::Group(group) => first_keyword(group.stream(), keyword),
        _ => None,
    })
}

/// Collects what `use` items bring into scope.
#[derive(Default)]
struct Imports {
    aliases: HashMap<String, String>,
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        flatten(&item.tree, "", &mut |path, name| {
            // `crate::`, `self::` and `super::` paths name this project's own items.
            if let Some(name) = name.filter(|name| *name != "_") {
                self.aliases.insert(name.to_owned(), path.to_owned());
            }
        });
    }
}

/// Calls `found` with each full path of a use tree and the name that it gets.
fn flatten(tree: &syn::UseTree, prefix: &str, found: &mut impl FnMut(&str, Option<&str>)) {
    let join = |part: &str| if prefix.is_empty() { part.to_owned() } else { format!("{prefix}::{part}") };
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree, &join(&path.ident.to_string()), found),
        syn::UseTree::Name(name) if name.ident == "self" => found(prefix, prefix.rsplit("::").next()),
        syn::UseTree::Name(name) => found(&join(&name.ident.to_string()), Some(&name.ident.to_string())),
        syn::UseTree::Rename(rename) if rename.ident == "self" => {
            found(prefix, Some(&rename.rename.to_string()));
        }
        syn::UseTree::Rename(rename) => {
            found(&join(&rename.ident.to_string()), Some(&rename.rename.to_string()));
        }
        syn::UseTree::Glob(_) => found(&join("*"), None),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, found)),
    }
}

/// Collects what the rules look at.
struct Reader {
    aliases: HashMap<String, String>,
    in_test: bool,
    uses: Vec<Use>,
    ignored_tests: Vec<usize>,
    opens_unsafe: bool,
    forbids_unsafe: bool,
}

impl Reader {
    /// Notes a path, its first part replaced by what the file's imports say it is.
    fn note(&mut self, path: &str, line: usize) {
        let (first, rest) = path.split_once("::").map_or((path, None), |(first, rest)| (first, Some(rest)));
        let first = self.aliases.get(first).map_or(first, String::as_str);
        let path = rest.map_or_else(|| first.to_owned(), |rest| format!("{first}::{rest}"));
        self.uses.push(Use { path, line, in_test: self.in_test });
    }

    /// Reads the paths out of a macro's arguments.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path = String::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !path.is_empty() && colons == 2 {
                        path.push_str("::");
                    } else {
                        self.flush(&mut path, line);
                    }
                    path.push_str(&ident.to_string());
                    line = ident.span().start().line;
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(punct) => {
                    if punct.as_char() == '!' && !path.is_empty() {
                        path.push('!');
                    }
                    self.flush(&mut path, line);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.flush(&mut path, line);
                    colons = 0;
                    self.note_tokens(group.stream());
                }
                TokenTree::Literal(_) => self.flush(&mut path, line),
            }
        }
        self.flush(&mut path, line);
    }

    fn flush(&mut self, path: &mut String, line: usize) {
        if !path.is_empty() {
            self.note(path, line);
            path.clear();
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let outer = self.in_test;
        self.in_test |= attributes(item).iter().any(is_test_only);
        visit::visit_item(self, item);
        self.in_test = outer;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let line = item.span().start().line;
        let in_test = self.in_test;
        flatten(&item.tree, "", &mut |path, _| self.uses.push(Use { path: path.to_owned(), line, in_test }));
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name = attribute.path();
        if name.is_ident("ignore") {
            self.ignored_tests.push(attribute.span().start().line);
        }
        if let syn::Meta::List(list) = &attribute.meta {
            let words = list.tokens.to_string();
            if words.contains("unsafe_code") {
                self.opens_unsafe |= name.is_ident("expect") && words.contains("reason");
                self.forbids_unsafe |= name.is_ident("forbid");
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&parts.join("::"), path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let parts: Vec<String> = invocation.path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&format!("{}!", parts.join("::")), invocation.path.span().start().line);
        self.note_tokens(invocation.tokens.clone());
    }
}

/// Whether an attribute keeps its item out of everything but test builds.
fn is_test_only(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg")
        && list.parse_args::<syn::Meta>().is_ok_and(|predicate| requires_test(&predicate))
}

/// Whether a configuration predicate can hold in test builds only.
fn requires_test(predicate: &syn::Meta) -> bool {
    match predicate {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => {
            let parse = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
            list.parse_args_with(parse).is_ok_and(|all| all.iter().any(requires_test))
        }
        _ => false,
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<(String, bool)> {
        let source = Source::parse("ring/src/a.rs", text).expect("parses");
        source.uses.into_iter().map(|used| (used.path, used.in_test)).collect()
    }

    #[test]
    fn names_are_resolved_through_imports_groups_and_renames() {
        let found = paths(
            "use std::{thread as t, fs::{self, File}}; fn a() { t::spawn(b); fs::read(1); File::open(2); }",
        );
        for path in ["std::thread", "std::thread::spawn", "std::fs", "std::fs::read", "std::fs::File::open"] {
            assert!(found.contains(&(path.to_owned(), false)), "{path} in {found:?}");
        }
    }

    #[test]
    fn macro_arguments_are_read_and_strings_and_comments_are_not() {
        let found =
            paths("fn a() { assert!(std::fs::read(x).is_ok(), \"std::net::x\"); /* std::thread::spawn */ }");
        assert!(found.contains(&("std::fs::read".to_owned(), false)), "{found:?}");
        assert!(found.iter().all(|(path, _)| !path.contains("net") && !path.contains("thread")));
    }

    #[test]
    fn items_behind_cfg_test_are_test_code_and_not_test_is_not() {
        for (cfg, in_test) in [
            ("test", true),
            ("all(test, not(loom))", true),
            ("not(test)", false),
            ("any(test, loom)", false),
            ("not(all(test, loom))", false),
        ] {
            let found = paths(&format!("#[cfg({cfg})] mod t {{ fn a() {{ x::y(); }} }}"));
            assert!(found.contains(&("x::y".to_owned(), in_test)), "{cfg}");
        }
    }

    #[test]
    fn an_excuse_needs_its_reason() {
        let text = "// tidy: expect(clock, reason = \"waits\")\n// tidy: expect(clock)\n// tidy: expect(clock, reason = \"\")\n";
        let found: Vec<bool> = excuses(text).iter().map(|excuse| excuse.has_reason).collect();
        assert_eq!(found, [true, false, false]);
    }
}
