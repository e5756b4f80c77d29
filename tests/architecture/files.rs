//! Which file uses which: names followed through modules and re-exports, and the circles that this gives.

use crate::tokens::{Kind, Lexer, Token};
use std::collections::{BTreeMap, BTreeSet};

/// `["worker", "hub"]`; the crate's root is empty.
type Path<'a> = Vec<&'a str>;
/// A file, and the files that it uses.
pub(crate) type Uses<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Deeper chains of re-exports are circles of imports.
const DEEPEST: usize = 16;
const ITEMS: [&str; 12] =
    ["pub", "fn", "mod", "use", "impl", "struct", "enum", "trait", "const", "static", "type", "macro_rules"];

#[derive(Default)]
struct Module<'a> {
    file: &'a str,
    /// What a name that is imported or re-exported stands for.
    imports: BTreeMap<&'a str, Path<'a>>,
    /// Paths in code, and those of private imports.
    used: BTreeSet<Path<'a>>,
    /// Modules that only tests have.
    tests: BTreeSet<&'a str>,
}

/// The modules of one crate.
#[derive(Default)]
pub(crate) struct Crate<'a> {
    modules: BTreeMap<Path<'a>, Module<'a>>,
}

impl<'a> Crate<'a> {
    pub(crate) fn add(&mut self, file: &'a str, module: &[&'a str], text: &'a str) {
        let tokens = Lexer::tokens(text);
        Reader { file, tokens: &tokens, at: 0, into: self }.module(module.to_vec());
    }

    /// Without what only tests use.
    pub(crate) fn uses(&self) -> Uses<'a> {
        let mut all = Uses::new();
        for (path, module) in self.modules.iter().filter(|(path, _)| !self.is_test(path)) {
            let uses = all.entry(module.file).or_default();
            uses.extend(module.used.iter().filter_map(|names| self.file_of(path, names, 0)));
            uses.remove(module.file);
        }
        all
    }

    fn is_test(&self, path: &[&str]) -> bool {
        (0..path.len())
            .any(|len| self.modules.get(&path[..len]).is_some_and(|outer| outer.tests.contains(path[len])))
    }

    /// The file that defines what `names` means in `module`. `None`: a module as such, or another crate's.
    fn file_of(&self, module: &[&'a str], names: &[&'a str], depth: usize) -> Option<&'a str> {
        let mut at = module.to_vec();
        for (index, name) in names.iter().enumerate() {
            match *name {
                "crate" => at.clear(),
                "super" => _ = at.pop(),
                "self" => {}
                name => {
                    at.push(name);
                    if self.modules.contains_key(&at) {
                        continue;
                    }
                    at.pop();
                    let here = self.modules.get(&at)?;
                    if let Some(import) = here.imports.get(name).filter(|_| depth < DEEPEST) {
                        let names = [import, &names[index + 1..]].concat();
                        return self.file_of(&at, &names, depth + 1);
                    }
                    return (index > 0).then_some(here.file);
                }
            }
        }
        None
    }
}

/// Reads a file's modules into a crate's.
struct Reader<'a, 's> {
    file: &'a str,
    tokens: &'s [Token<'a>],
    at: usize,
    into: &'s mut Crate<'a>,
}

impl<'a> Reader<'a, '_> {
    fn kind(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.kind(ahead) {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_sign(&self, ahead: usize, sign: u8) -> bool {
        self.kind(ahead) == Some(Kind::Sign(sign))
    }

    fn colons(&self) -> bool {
        self.is_sign(0, b':') && self.is_sign(1, b':')
    }

    /// Up to the brace that closes the module.
    fn module(&mut self, path: Path<'a>) {
        let mut module = Module { file: self.file, ..Module::default() };
        let mut depth = 0_usize;
        let mut public = false;
        while let Some(kind) = self.kind(0) {
            match kind {
                Kind::Sign(b'#') if self.is_test_only() => self.test_item(&mut module),
                Kind::Sign(b'{') => depth += 1,
                Kind::Sign(b'}') if depth == 0 => break,
                Kind::Sign(b'}') => depth -= 1,
                Kind::Word("pub") => public = true,
                Kind::Word("use") => {
                    self.at += 1;
                    self.import(&mut module, &[], public);
                    public = false;
                }
                Kind::Word("mod") if self.is_sign(2, b'{') => {
                    let inner = path.iter().copied().chain(self.word(1)).collect();
                    self.at += 3;
                    self.module(inner);
                }
                Kind::Word("fn" | "mod" | "struct" | "enum" | "trait" | "const" | "static" | "type") => {
                    self.at += 1;
                }
                Kind::Word(_) if self.at > 0 && self.is_name_behind_a_dot() => {}
                Kind::Word(word) => {
                    let names = self.names(word);
                    module.used.insert(names);
                }
                Kind::Sign(_) => {}
            }
            public &= !matches!(kind, Kind::Sign(b';' | b'{' | b'}'));
            self.at += 1;
        }
        self.into.modules.insert(path, module);
    }

    fn is_name_behind_a_dot(&self) -> bool {
        let dots = self.tokens[..self.at].iter().rev();
        dots.take_while(|token| token.kind == Kind::Sign(b'.')).count() == 1
    }

    /// `a::b::c`, from its first name to its last.
    fn names(&mut self, first: &'a str) -> Path<'a> {
        let mut names = vec![first];
        while self.is_sign(1, b':') && self.is_sign(2, b':') {
            let Some(name) = self.word(3) else { break };
            names.push(name);
            self.at += 3;
        }
        names
    }

    /// One branch of a `use`; ends on what stands behind it.
    fn import(&mut self, module: &mut Module<'a>, base: &[&'a str], public: bool) {
        let mut path = base.to_vec();
        while let Some(name) = self.word(0) {
            path.push(name);
            self.at += 1;
            if !self.colons() {
                break;
            }
            self.at += 2;
        }
        if self.is_sign(0, b'{') {
            while !self.is_sign(0, b'}') && self.kind(0).is_some() {
                self.at += 1;
                self.import(module, &path, public);
            }
            self.at += 1;
            return;
        }
        let mut name = path.iter().rfind(|name| **name != "self").copied();
        if self.word(0) == Some("as") {
            name = self.word(1);
            self.at += 2;
        }
        self.at += usize::from(self.is_sign(0, b'*'));
        if !public {
            module.used.insert(path.clone());
        }
        if let Some(name) = name {
            module.imports.insert(name, path);
        }
    }

    /// `#[cfg(test)]`
    fn is_test_only(&self) -> bool {
        let words = [self.word(2), self.word(4)];
        self.is_sign(1, b'[') && words == [Some("cfg"), Some("test")] && self.is_sign(5, b')')
    }

    /// Skips what `#[cfg(test)]` stands before, and notes it if it is a module.
    fn test_item(&mut self, module: &mut Module<'a>) {
        let mut depth = 0_usize;
        let mut first = None;
        self.at += 7;
        while let Some(kind) = self.kind(0) {
            match kind {
                Kind::Sign(b'#') if depth == 0 => {}
                Kind::Sign(b'(' | b'[' | b'{') => depth += 1,
                Kind::Sign(b')' | b']' | b'}') if depth == 0 => {
                    self.at -= 1;
                    return;
                }
                Kind::Sign(sign @ (b')' | b']' | b'}')) => {
                    depth -= 1;
                    let is_over = sign == b'}' && depth == 0 && first != Some("use");
                    if is_over {
                        return;
                    }
                }
                Kind::Sign(b';') if depth == 0 => return,
                Kind::Sign(b',') if depth == 0 && first.is_none_or(|word| !ITEMS.contains(&word)) => return,
                Kind::Word(word) if depth == 0 => {
                    first = first.filter(|first| *first != "pub").or(Some(word));
                    if word == "mod" {
                        module.tests.extend(self.word(1));
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// The circles: files of which each reaches all others of its circle.
pub(crate) fn circles<'a>(uses: &Uses<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (*file, reach(uses, file))).collect();
    let both = |a: &str, b: &str| reached[a].contains(b) && reached[b].contains(a);
    let circle =
        |file: &str| -> BTreeSet<_> { uses.keys().copied().filter(|other| both(file, other)).collect() };
    let all: BTreeSet<_> = uses.keys().map(|file| circle(file)).filter(|circle| circle.len() > 1).collect();
    all.into_iter().collect()
}

/// All files that `file` uses, and those that they use.
fn reach<'a>(uses: &Uses<'a>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = uses[file].iter().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(uses.get(next).into_iter().flatten());
        }
    }
    reached
}
