//! Two file systems, or two trees, compared file by file.

use anyhow::{Context, Result};

use super::packages::{self, PackageChange};
use super::{Difference, plain};
use crate::formats::erofs::read::Erofs;
use crate::formats::fat::read::Fat;
use crate::formats::{Blocks, Window, pass};
use crate::tree::compare::{self, Field};
use crate::tree::{Content, Kind, Tree, show};

/// How much of a partition is looked at to call it empty.
const EMPTY: u64 = 1 << 20;

/// What was found in a partition.
#[derive(Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    pub(super) packages: Vec<PackageChange>,
}

/// What a partition holds.
enum Opened<'a, B: ?Sized> {
    Erofs(Erofs<'a, B>),
    Fat(Fat<'a, B>),
    Nothing,
    Other(String),
}

impl<'a, B: Blocks + ?Sized> Opened<'a, B> {
    fn of(disk: &'a B) -> Self {
        let wrong = match (Erofs::open(disk), Fat::open(disk)) {
            (Ok(erofs), _) => return Self::Erofs(erofs),
            (_, Ok(fat)) => return Self::Fat(fat),
            (Err(e), Err(f)) => format!("{e:#}; {f:#}"),
        };
        let head = usize::try_from(disk.size().min(EMPTY)).unwrap_or_default();
        match disk.bytes(0, head) {
            Ok(bytes) if pass::is_zero(&bytes) => Self::Nothing,
            _ => Self::Other(wrong),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Erofs(_) => "EROFS",
            Self::Fat(_) => "FAT",
            Self::Nothing => "nothing",
            Self::Other(_) => "nothing that is known here",
        }
    }

    /// Every path, files without their bytes.
    fn tree(&self) -> Result<Tree> {
        match self {
            Self::Erofs(erofs) => erofs.tree(),
            Self::Fat(fat) => {
                let mut tree = Tree::new(0);
                for (path, found) in &fat.names {
                    if found.dir {
                        tree.insert_dir(path, 0o755)?;
                    } else {
                        tree.insert_bytes(path, 0o644, "")?;
                    }
                }
                Ok(tree)
            }
            _ => Ok(Tree::new(0)),
        }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>> {
        match self {
            Self::Erofs(erofs) => erofs.file(path),
            Self::Fat(fat) => fat.read(path),
            _ => Ok(Vec::new()),
        }
    }

    /// What the file system says of itself.
    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Erofs(e) => vec![
                ("label", e.label.clone()),
                ("time of building", e.built.to_string()),
                ("length", e.size.to_string()),
                ("UUID", hex::encode(e.uuid)),
            ],
            Self::Fat(f) => vec![
                ("label", f.label.clone()),
                ("volume id", format!("{:08x}", f.volume_id)),
                ("width", format!("{:?}", f.width)),
            ],
            _ => Vec::new(),
        }
    }

    /// What lies at a byte that belongs to no file's content.
    fn structure(&self, at: u64) -> String {
        let erofs = match self {
            Self::Erofs(erofs) => erofs,
            Self::Fat(_) if at < 512 => return "the boot sector".to_owned(),
            Self::Fat(_) => return "tables and directories, or room that no file uses".to_owned(),
            Self::Nothing => return "bytes where nothing should be".to_owned(),
            Self::Other(why) => return why.clone(),
        };
        let holds = |(start, len): (u64, u64)| (start..start + len).contains(&at);
        let block = |(start, len): (u64, u64)| (start, len.next_multiple_of(4096));
        if holds((1024, 128)) {
            return "the super block".to_owned();
        }
        let of = |what: &str, test: &dyn Fn((u64, u64)) -> bool, inode: bool| {
            let found = erofs.names.iter().find(|(_, node)| {
                if inode {
                    test(node.record)
                } else {
                    node.data().into_iter().any(test)
                }
            });
            found.map(|(path, _)| format!("{what} /{path}"))
        };
        of("the inode of", &holds, true)
            .or_else(|| of("the data of", &holds, false))
            .or_else(|| of("the room behind the data of", &|r| holds(block(r)), false))
            .unwrap_or_else(|| "room that nothing uses".to_owned())
    }
}

/// Compares two partitions of which byte `at` is the first that differs; `start` is where they lie on the card.
pub(super) fn volumes<A, B>(
    place: &str,
    start: u64,
    a: &Window<'_, A>,
    b: &Window<'_, B>,
    at: u64,
) -> Result<Found>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let (x, y) = (Opened::of(a), Opened::of(b));
    let mut found = Found::default();
    if x.name() != y.name() {
        found
            .differences
            .push(plain(place, "file system", x.name(), y.name()));
        return Ok(found);
    }
    let whole = || format!("comparing {place}");
    for mut difference in contents(&x, &y).with_context(whole)? {
        place.clone_into(&mut difference.place);
        found.differences.push(difference);
    }
    let fields = x.fields().into_iter().zip(y.fields());
    let fields = fields.filter(|((_, one), (_, other))| one != other);
    found
        .differences
        .extend(fields.map(|((field, one), (_, other))| plain(place, field, one, other)));
    if found.differences.is_empty() {
        let mut row = plain(place, "structure", x.structure(at), y.structure(at));
        row.offset = Some(start + at);
        found.differences.push(row);
    }
    let status = |file: Result<Vec<u8>>| file.ok();
    found.packages = packages::changes(
        status(x.file(packages::STATUS)),
        status(y.file(packages::STATUS)),
    );
    Ok(found)
}

/// All paths of two file systems. Attributes are compared as values, contents one after another: two images do not fit
/// into the memory of every machine.
fn contents<A, B>(a: &Opened<'_, A>, b: &Opened<'_, B>) -> Result<Vec<Difference>>
where
    A: Blocks + ?Sized,
    B: Blocks + ?Sized,
{
    let (left, right) = (a.tree()?, b.tree()?);
    let mut out = attributes(&left, &right)?;
    for (path, entry) in left.iter() {
        let shown = String::from_utf8_lossy(path);
        let both = right.get(&shown).map(|e| &e.kind);
        if let (Kind::File(_), Some(Kind::File(_))) = (&entry.kind, both) {
            let (one, other) = (a.file(&shown)?, b.file(&shown)?);
            out.extend(content(path, &one, &other));
        }
    }
    // Those of one file stay together, the content first: a stable sort of what came in order.
    out.sort_by(|x, y| (&x.path, x.field != "content").cmp(&(&y.path, y.field != "content")));
    Ok(out)
}

/// Compares two trees whose contents are at hand.
pub(super) fn trees(a: &Tree, b: &Tree) -> Result<Vec<Difference>> {
    let mut out = Vec::new();
    for difference in compare::compare(a, b)? {
        let file = |t: &Tree| match t
            .get(&String::from_utf8_lossy(&difference.path))
            .map(|e| &e.kind)
        {
            Some(Kind::File(content)) => Some(content.clone()),
            _ => None,
        };
        let both: (Option<Content>, Option<Content>) = (file(a), file(b));
        match (difference.field, both) {
            (Field::Content, (Some(one), Some(other))) => {
                out.extend(content(&difference.path, &one.read()?, &other.read()?));
            }
            _ => out.push(named(difference)),
        }
    }
    Ok(out)
}

fn attributes(a: &Tree, b: &Tree) -> Result<Vec<Difference>> {
    Ok(compare::compare(a, b)?.into_iter().map(named).collect())
}

fn named(d: compare::Difference) -> Difference {
    let only = |side: &str| (d.field == Field::Presence && side == "nothing").then_some("");
    let (field, a, b) = match (only(&d.left), only(&d.right)) {
        (Some(_), _) => ("only-in-b", String::new(), d.right),
        (_, Some(_)) => ("only-in-a", d.left, String::new()),
        _ => (d.field.name(), d.left, d.right),
    };
    Difference {
        place: String::new(),
        path: Some(show(&d.path)),
        field: field.to_owned(),
        offset: None,
        a,
        b,
    }
}

/// Where the bytes of two files part.
fn content(path: &[u8], a: &[u8], b: &[u8]) -> Option<Difference> {
    if a == b {
        return None;
    }
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    let at = common.unwrap_or(a.len().min(b.len()));
    let side = |all: &[u8]| {
        if at >= all.len() {
            return format!("ends after {} bytes", all.len());
        }
        compare::around(all, at)
    };
    Some(Difference {
        place: String::new(),
        path: Some(show(path)),
        field: "content".to_owned(),
        offset: Some(at as u64),
        a: side(a),
        b: side(b),
    })
}
