//! Where the paths of a file lead: `crate::`, `super::` and `self::`, in groups and in modules within the file.

use crate::tokens::{Kind, Token};

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal<'a> {
    /// Into this room.
    Room(&'a str),
    /// `crate::*`, `use crate as x`
    Whole,
    /// More `super` than the place of the file allows.
    TooHigh,
}

/// One path.
pub(crate) struct Used<'a> {
    pub(crate) line: usize,
    pub(crate) goal: Goal<'a>,
}

/// All paths of a file that begin with `crate`, `super` or `self`. `module` is the file's own; no path may leave fewer
/// than `lowest` of its names behind by `super`.
pub(crate) fn used<'a>(tokens: &[Token<'a>], module: &[&'a str], lowest: usize) -> Vec<Used<'a>> {
    let mut walk = Walk { tokens, lowest, at: 0, found: Vec::new() };
    walk.module(module);
    walk.found
}

/// Walks through a file's tokens, knowing in which module it is.
struct Walk<'a, 's> {
    tokens: &'s [Token<'a>],
    lowest: usize,
    at: usize,
    found: Vec<Used<'a>>,
}

impl<'a> Walk<'a, '_> {
    fn kind(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    fn colons(&self, ahead: usize) -> bool {
        let colon = Some(Kind::Sign(b':'));
        self.kind(ahead) == colon && self.kind(ahead + 1) == colon
    }

    /// Up to the brace that closes this module.
    fn module(&mut self, path: &[&'a str]) {
        let mut depth = 0_usize;
        while let Some(kind) = self.kind(0) {
            let before = if self.at == 0 { None } else { Some(self.tokens[self.at - 1].kind) };
            match (kind, self.kind(1), self.kind(2)) {
                (Kind::Word("mod"), Some(Kind::Word(name)), Some(Kind::Sign(b'{'))) => {
                    self.at += 3;
                    let inner: Vec<_> = path.iter().copied().chain([name]).collect();
                    self.module(&inner);
                }
                (Kind::Word("crate" | "super" | "self"), ..) if self.colons(1) => {
                    self.path(path.to_vec(), false)
                }
                (Kind::Word("crate"), Some(Kind::Word("as")), _) if before == Some(Kind::Word("use")) => {
                    self.found.push(Used { line: self.tokens[self.at].line, goal: Goal::Whole });
                    self.at += 1;
                }
                (Kind::Sign(b'{'), ..) => {
                    depth += 1;
                    self.at += 1;
                }
                (Kind::Sign(b'}'), ..) => {
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// A path from here on, or one branch of `{a, b}`; `base` is what it starts from, `supers` whether by `super`.
    fn path(&mut self, mut base: Vec<&'a str>, mut supers: bool) {
        loop {
            let Some(token) = self.tokens.get(self.at).copied() else { return };
            self.at += 1;
            match token.kind {
                Kind::Word("crate") => base.clear(),
                Kind::Word("super") => {
                    supers = true;
                    base.pop();
                }
                Kind::Word("self") => {}
                Kind::Sign(b'{') => return self.branches(&base, supers),
                Kind::Word(name) if base.is_empty() => return self.lands(token.line, name, supers),
                Kind::Sign(b'*') if base.is_empty() => {
                    self.found.push(Used { line: token.line, goal: Goal::Whole });
                    return;
                }
                _ => return self.stays(token.line, &base, supers),
            }
            if !self.colons(0) {
                return self.stays(token.line, &base, supers);
            }
            self.at += 2;
        }
    }

    fn lands(&mut self, line: usize, name: &'a str, supers: bool) {
        let goal = if supers && self.lowest > 0 { Goal::TooHigh } else { Goal::Room(name) };
        self.found.push(Used { line, goal });
    }

    fn stays(&mut self, line: usize, base: &[&'a str], supers: bool) {
        if supers && base.len() < self.lowest {
            self.found.push(Used { line, goal: Goal::TooHigh });
        }
    }

    /// `a::b, super::c, {d}}`: each branch from `base`; ends behind the closing brace.
    fn branches(&mut self, base: &[&'a str], supers: bool) {
        let mut depth = 0_usize;
        let mut fresh = true;
        while let Some(kind) = self.kind(0) {
            match kind {
                Kind::Sign(b'}') if depth == 0 => {
                    self.at += 1;
                    return;
                }
                Kind::Sign(b',') if depth == 0 => {
                    fresh = true;
                    self.at += 1;
                }
                _ if fresh => {
                    fresh = false;
                    self.path(base.to_vec(), supers);
                }
                Kind::Sign(b'{') => {
                    depth += 1;
                    self.at += 1;
                }
                Kind::Sign(b'}') => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }
}
