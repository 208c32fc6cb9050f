//! What a lock was made for, as one hash: it changes when recipe or board ask for other packages.

use crate::files;
use crate::inputs::board::Board;
use crate::inputs::recipe::Recipe;

/// What a recipe on a board asks for, as one hash.
pub fn request(board: &Board, recipe: &Recipe) -> String {
    let suite = recipe.suite.as_ref().unwrap_or(&board.suite);
    let boot: Vec<String> = board
        .boot_packages
        .iter()
        .map(|p| {
            format!(
                "{}/{}/{}",
                p.name,
                p.suite.as_deref().unwrap_or(suite),
                p.component
            )
        })
        .collect();
    let parts = [
        ("arch", board.arch.to_string()),
        ("suite", suite.clone()),
        ("components", board.components.join(" ")),
        ("board", board.packages.join(" ")),
        ("boot", boot.join(" ")),
        ("recipe", recipe.packages.join(" ")),
        ("exclude", recipe.exclude.join(" ")),
    ];
    // What older recipes could not say changes nothing where it is not said.
    let more = [
        ("more components", recipe.components.join(" ")),
        (
            "debs",
            recipe
                .debs
                .iter()
                .filter_map(|d| d.sha256.map(|hash| hash.to_string()))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    let more = more.into_iter().filter(|(_, list)| !list.is_empty());
    let repositories = recipe.repositories.iter().map(|r| {
        let lists = [&r.suites, &r.components, &r.packages].map(|l| l.join(" "));
        let text = format!(
            "{} {} {} {} {}",
            r.name,
            r.uri,
            lists.join("/"),
            r.priority,
            r.key
        );
        ("repository", text)
    });
    let pins = board.pins.iter().map(|p| {
        let (components, sources) = (p.components.join(" "), p.sources.join(" "));
        ("pin", format!("{}/{components}/{sources}", p.pocket))
    });
    let parts: Vec<_> = parts
        .into_iter()
        .chain(pins)
        .chain(more)
        .chain(repositories)
        .collect();
    files::content_key(parts.iter().map(|(name, list)| (*name, list.as_bytes())))
}
