//! Owns the pictures of the README: what a real run shows, drawn by `make pictures`. A virtual board is started from the image
//! of `make demo`; the fleet's table becomes an SVG, the board's page a PNG, as Chromium sees it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::board::{Cache, Hardware, VirtualBoard};
use crate::browser;
use crate::exec;
use crate::factory::Factory;
use crate::health::Health;

/// Where the book looks for them.
const FOLDER: &str = "docs/src/pictures";
/// An emulated board on a busy machine.
const BOOT_WITHIN: Duration = Duration::from_mins(30);
/// `/health` has this check once the self-tests ran.
const TESTED: &str = "\"selftests:";
/// An address that is nobody's (RFC 5737): the board in the table that does not answer.
const SILENT: &str = "192.0.2.7";
/// One letter of the terminal's font.
const LETTER: (f32, f32) = (8.4, 20.0);

/// Draws all of them.
pub fn draw(root: &Path) -> Result<()> {
    let factory = Factory::new()?;
    factory.tools()?;
    factory.own_agent()?;
    factory.keys()?;
    factory.release("v1")?;
    let dir = tempfile::Builder::new()
        .prefix("picture-")
        .tempdir_in(&factory.dir)?;
    let hardware = Hardware {
        cache: Cache::Unsafe,
        ..Hardware::virtual_board()?
    };
    let mut board = VirtualBoard::new(hardware, &factory.image(), dir.path())?;
    board.power_on()?;
    // `warn`, too: where no time server can be reached, the clock is never well
    board.wait("the board's health", BOOT_WITHIN, |b| {
        let body = b.get("/health").ok()?.body;
        let health = Health::parse(&body).ok()?;
        let settled = health.status != "fail" && body.contains(TESTED);
        settled.then_some(())
    })?;
    let folder = root.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    let host = board.url("").replace("http://", "");
    let args = ["status", "--hosts", &format!("{host},{SILENT}")];
    let table = status(&args)?;
    let shown = format!("$ hypriot-fleet {}\n{table}", args.join(" "));
    super::write(&folder.join("fleet-status.svg"), &terminal(&shown)?)?;
    let view = ["--window-size=860,980", "--force-device-scale-factor=1.5"];
    browser::photograph(&board.url("/"), &view, &folder.join("board-page.png"))?;
    eprintln!("{}: drawn anew; look at them", folder.display());
    Ok(())
}

/// What the fleet says. A silent board makes it end with code 4 (docs/src/reference/exit-codes.md).
fn status(args: &[&str]) -> Result<String> {
    let program = exec::workspace_program("hypriot-fleet")?;
    let mut c = exec::command("sh");
    c.args([
        "-c",
        r#"program=$1; shift; "$program" "$@"; [ $? -eq 4 ]"#,
        "sh",
    ])
    .arg(program)
    .args(args);
    exec::run(c, Duration::from_mins(2))
}

/// Text as a terminal shows it.
fn terminal(text: &str) -> Result<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let columns = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred letters")]
    let (width, height) = (
        columns as f32 * LETTER.0 + 32.0,
        lines.len() as f32 * LETTER.1 + 32.0,
    );
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">"
    )?;
    writeln!(
        svg,
        "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#161b22\"/>\n\
         <g font-family=\"ui-monospace,Menlo,Consolas,monospace\" font-size=\"14\" fill=\"#e6edf3\" xml:space=\"preserve\">"
    )?;
    let mut y = 32.0;
    for line in lines {
        // The length is set, so that columns stay columns in whatever font there is.
        #[expect(clippy::cast_precision_loss, reason = "a few hundred letters")]
        let length = line.chars().count() as f32 * LETTER.0;
        let words = line.replace('&', "&amp;").replace('<', "&lt;");
        if length > 0.0 {
            writeln!(
                svg,
                "<text x=\"16\" y=\"{y:.0}\" textLength=\"{length:.1}\" lengthAdjust=\"spacing\">{words}</text>"
            )?;
        }
        y += LETTER.1;
    }
    svg += "</g>\n</svg>\n";
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_every_line_and_no_markup_of_others() {
        let svg = terminal("a <b>\n\nlonger & longer").unwrap();
        assert!(svg.contains(">a &lt;b></text>"), "{svg}");
        assert!(
            svg.contains(">longer &amp; longer</text>") && svg.contains("y=\"72\""),
            "{svg}"
        );
        assert!(svg.contains("viewBox=\"0 0 158 92\""), "{svg}");
    }
}
