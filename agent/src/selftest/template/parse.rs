//! The language: text between actions, actions between `{{` and `}}` (text/template, "Actions" to "Nested templates").

use std::collections::BTreeMap;

use super::lex::{Piece, Token, error, split, trimmed};
use super::{DEPTH, Error, Value};

/// All templates of a file; the main one has no name.
pub(super) type Tree = BTreeMap<String, Vec<Node>>;

/// One piece; `at` is the byte in the source.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Vec<(Pipe, Vec<Self>)>, Vec<Self>),
    With(Vec<(Pipe, Vec<Self>)>, Vec<Self>),
    Range(Pipe, Vec<Self>, Vec<Self>),
    Template(usize, String, Option<Pipe>),
    Break,
    Continue,
}

/// Commands joined by `|`, whose result may be kept in variables.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) names: Vec<String>,
    /// `=` rather than `:=`
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Word>,
}

#[derive(Debug)]
pub(super) enum Word {
    Dot,
    Nil,
    Literal(Value),
    Function(usize, String),
    /// Fields after a value.
    Fields(Box<Self>, Vec<(usize, String)>),
    Variable(usize, String),
    Pipe(Pipe),
}

pub(super) fn parse(source: &str) -> Result<Tree, Error> {
    let pieces = split(source)?;
    let mut parser = Parser {
        source,
        pieces: pieces.into_iter().peekable(),
        tree: Tree::new(),
        end: source.len(),
    };
    let (main, end) = parser.block(0, false)?;
    match end {
        End::Source => {}
        End::Closed(at) => return Err(error(source, at, "unexpected {{end}}")),
        End::Else(at, _) => return Err(error(source, at, "unexpected {{else}}")),
        End::Other(at, word) => return Err(error(source, at, format!("unexpected {word}"))),
    }
    parser.tree.insert(String::new(), main);
    Ok(parser.tree)
}

/// What ended a block.
enum End {
    Source,
    Closed(usize),
    Else(usize, Vec<(usize, Token)>),
    Other(usize, String),
}

struct Parser<'a> {
    source: &'a str,
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    tree: Tree,
    end: usize,
}

impl Parser<'_> {
    fn error(&self, at: usize, what: impl Into<String>) -> Error {
        error(self.source, at, what)
    }

    fn block(&mut self, depth: usize, looped: bool) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(at, tokens) => (at, tokens),
            };
            if depth > DEPTH {
                return Err(self.error(at, format!("deeper than {DEPTH} levels")));
            }
            let tokens: Vec<(usize, Token)> = trimmed(tokens);
            let keyword = match tokens.first() {
                Some((_, Token::Word(word))) => word.clone(),
                Some(_) => String::new(),
                None => return Err(self.error(at, "missing value for command")),
            };
            let rest = || trimmed(tokens[1..].to_vec());
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Closed(at))),
                "else" => return Ok((nodes, End::Else(at, rest()))),
                "if" => {
                    let (arms, otherwise) = self.arms("if", at, rest(), depth, looped)?;
                    nodes.push(Node::If(arms, otherwise));
                }
                "with" => {
                    let (arms, otherwise) = self.arms("with", at, rest(), depth, looped)?;
                    nodes.push(Node::With(arms, otherwise));
                }
                "range" => {
                    let pipe = self.pipe(at, &rest(), depth)?;
                    let (body, end) = self.block(depth + 1, true)?;
                    let otherwise = match end {
                        End::Else(_, tokens) if tokens.is_empty() => {
                            self.closed(at, depth, looped)?
                        }
                        End::Closed(_) => Vec::new(),
                        _ => return Err(self.error(at, "range without end")),
                    };
                    nodes.push(Node::Range(pipe, body, otherwise));
                }
                "break" | "continue" if tokens.len() == 1 => {
                    if !looped {
                        return Err(
                            self.error(at, format!("{{{{{keyword}}}}} outside {{{{range}}}}"))
                        );
                    }
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "define" | "block" | "template" => {
                    let (name, pipe) = self.named(at, &rest(), depth)?;
                    if keyword != "template" {
                        let body = self.closed(at, depth, false)?;
                        self.tree.insert(name.clone(), body);
                    }
                    if keyword != "define" {
                        nodes.push(Node::Template(at, name, pipe));
                    }
                }
                _ => nodes.push(Node::Action(self.pipe(at, &tokens, depth)?)),
            }
        }
        let end = if depth == 0 {
            End::Source
        } else {
            End::Other(self.end, "EOF".into())
        };
        Ok((nodes, end))
    }

    /// Nodes up to `{{end}}`.
    fn closed(&mut self, at: usize, depth: usize, looped: bool) -> Result<Vec<Node>, Error> {
        match self.block(depth + 1, looped)? {
            (nodes, End::Closed(_)) => Ok(nodes),
            _ => Err(self.error(at, "an action that is never closed with {{end}}")),
        }
    }

    #[expect(
        clippy::type_complexity,
        reason = "arms and what is done otherwise; used twice, above"
    )]
    fn arms(
        &mut self,
        word: &str,
        at: usize,
        tokens: Vec<(usize, Token)>,
        depth: usize,
        looped: bool,
    ) -> Result<(Vec<(Pipe, Vec<Node>)>, Vec<Node>), Error> {
        let mut arms = Vec::new();
        let (mut at, mut tokens) = (at, tokens);
        loop {
            let pipe = self.pipe(at, &tokens, depth)?;
            let (body, end) = self.block(depth + 1, looped)?;
            arms.push((pipe, body));
            match end {
                End::Closed(_) => return Ok((arms, Vec::new())),
                End::Else(_, rest) if rest.is_empty() => {
                    return Ok((arms, self.closed(at, depth, looped)?));
                }
                End::Else(here, rest) if rest[0].1 == Token::Word(word.into()) => {
                    (at, tokens) = (here, trimmed(rest[1..].to_vec()));
                }
                _ => return Err(self.error(at, format!("{word} without end"))),
            }
        }
    }

    fn named(
        &self,
        at: usize,
        tokens: &[(usize, Token)],
        depth: usize,
    ) -> Result<(String, Option<Pipe>), Error> {
        let Some((_, Token::Literal(Value::Str(name)))) = tokens.first() else {
            return Err(self.error(at, "expected the name of a template in quotes"));
        };
        let rest = trimmed(tokens[1..].to_vec());
        let pipe = if rest.is_empty() {
            None
        } else {
            Some(self.pipe(at, &rest, depth)?)
        };
        Ok((name.to_string(), pipe))
    }

    fn pipe(&self, at: usize, tokens: &[(usize, Token)], depth: usize) -> Result<Pipe, Error> {
        if depth > DEPTH {
            return Err(self.error(at, format!("deeper than {DEPTH} levels")));
        }
        let sign = tokens
            .iter()
            .position(|(_, t)| matches!(t, Token::Sign(":=" | "=")));
        let mut pipe = Pipe {
            at,
            names: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        let mut body = tokens;
        // Only what stands before the first parenthesis can declare.
        if let Some(sign) = sign
            && tokens[..sign]
                .iter()
                .all(|(_, t)| matches!(t, Token::Blank | Token::Variable(_) | Token::Sign(",")))
        {
            pipe.assigns = tokens[sign].1 == Token::Sign("=");
            pipe.names = tokens[..sign]
                .iter()
                .filter_map(|(_, t)| {
                    if let Token::Variable(name) = t {
                        Some(name.clone())
                    } else {
                        None
                    }
                })
                .collect();
            if pipe.names.is_empty() || pipe.names.len() > 2 {
                return Err(self.error(at, "too many or no names in a declaration"));
            }
            body = &tokens[sign + 1..];
        }
        let mut level = 0usize;
        let mut start = 0;
        for (index, (place, token)) in body.iter().enumerate() {
            match token {
                Token::Sign("(") => level += 1,
                Token::Sign(")") => {
                    level = level
                        .checked_sub(1)
                        .ok_or_else(|| self.error(*place, "unexpected right paren"))?;
                }
                Token::Sign("|") if level == 0 => {
                    pipe.commands
                        .push(self.command(at, &body[start..index], depth)?);
                    start = index + 1;
                }
                _ => {}
            }
        }
        if level != 0 {
            return Err(self.error(at, "unclosed left paren"));
        }
        pipe.commands.push(self.command(at, &body[start..], depth)?);
        Ok(pipe)
    }

    fn command(
        &self,
        at: usize,
        tokens: &[(usize, Token)],
        depth: usize,
    ) -> Result<Command, Error> {
        let mut words: Vec<Word> = Vec::new();
        let mut glued = false;
        let mut index = 0;
        while let Some((here, token)) = tokens.get(index) {
            index += 1;
            let word = match token {
                Token::Blank => {
                    glued = false;
                    continue;
                }
                Token::Field(name) if glued => {
                    let last = words
                        .pop()
                        .ok_or_else(|| self.error(*here, "a field of nothing"))?;
                    words.push(match last {
                        Word::Fields(base, mut names) => {
                            names.push((*here, name.clone()));
                            Word::Fields(base, names)
                        }
                        other => Word::Fields(Box::new(other), vec![(*here, name.clone())]),
                    });
                    continue;
                }
                Token::Field(name) => {
                    Word::Fields(Box::new(Word::Dot), vec![(*here, name.clone())])
                }
                Token::Variable(name) => Word::Variable(*here, name.clone()),
                Token::Literal(value) => Word::Literal(value.clone()),
                Token::Word(word) if word == "nil" => Word::Nil,
                Token::Word(word) => Word::Function(*here, word.clone()),
                Token::Sign(".") => Word::Dot,
                Token::Sign("(") => {
                    let mut level = 1;
                    let start = index;
                    while level > 0 {
                        match tokens.get(index).map(|(_, t)| t) {
                            Some(Token::Sign("(")) => level += 1,
                            Some(Token::Sign(")")) => level -= 1,
                            Some(_) => {}
                            None => return Err(self.error(*here, "unclosed left paren")),
                        }
                        index += 1;
                    }
                    Word::Pipe(self.pipe(
                        *here,
                        &trimmed(tokens[start..index - 1].to_vec()),
                        depth + 1,
                    )?)
                }
                Token::Sign(sign) => {
                    return Err(self.error(*here, format!("unexpected {sign:?} in command")));
                }
            };
            if glued {
                return Err(self.error(*here, "a blank is missing between two values"));
            }
            words.push(word);
            glued = true;
        }
        if words.is_empty() {
            return Err(self.error(at, "missing value for command"));
        }
        Ok(Command {
            at: tokens
                .iter()
                .find(|t| t.1 != Token::Blank)
                .map_or(at, |t| t.0),
            words,
        })
    }
}
