//! What `[[container]]` must say.

use super::{Recipe, Say, Step};

pub(super) fn check(recipe: &Recipe, say: &mut Say<'_>) {
    use Step::{Key, Part};
    for (n, container) in recipe.containers.iter().enumerate() {
        let at = vec![Key("container"), Part(n), Key("image")];
        let before = &recipe.containers[..n];
        if before.iter().any(|c| c.image == container.image) {
            say(at, Err(format!("`{}` is here twice", container.image)));
        } else {
            say(at, reference(&container.image));
        }
        if container.from.is_none() && container.sha256.is_none() {
            say(
                vec![Key("container"), Part(n)],
                Err(format!(
                    "`{}` has no `from`: an OCI layout, as `skopeo copy docker://… oci:FOLDER` makes one",
                    container.image
                )),
            );
        }
    }
}

/// A name with a tag (distribution's reference.go: `[domain[:port]/]path-component[/path-component]*:tag`).
fn reference(text: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "`{text}`: {what}, as in nginx:1.29 or ghcr.io/owner/app:1.0"
        ))
    };
    if text.contains('@') {
        return wrong("a name with a tag, not a digest (the layout itself is the content)");
    }
    let Some((name, tag)) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
        return wrong("a name needs its tag");
    };
    let is_tag = (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !is_tag {
        return wrong("this is no tag");
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        let (host, port) = parts[0].split_once(':').unwrap_or((parts[0], "0"));
        let is_host = host.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if !is_host || port.parse::<u16>().is_err() {
            return wrong("this is no registry");
        }
        parts.remove(0);
    }
    let component = |part: &&str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = [part.bytes().next(), part.bytes().last()];
        ends.iter().all(|b| b.is_some_and(plain))
            && part.bytes().all(|b| plain(b) || b"._-".contains(&b))
            && !part.contains("..")
            && !part.contains("___")
    };
    if name.len() > 255 || !parts.iter().all(component) {
        return wrong("names of images have small letters, digits and . _ - / alone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn a_name_that_docker_would_not_take_is_refused() {
        for (text, says) in [
            ("nginx:1.29", ""),
            ("owner/app:v1", ""),
            ("ghcr.io/owner/app:1.0-rc.1", ""),
            ("registry:5000/app:1", ""),
            ("localhost/my_app:latest", ""),
            ("nginx", "tag"),
            ("registry:5000/app", "tag"),
            ("nginx:", "no tag"),
            ("nginx:-1", "no tag"),
            ("nginx:1 2", "no tag"),
            ("Nginx:1", "small letters"),
            ("a//b:1", "small letters"),
            ("../b:1", "registry"),
            ("./b:1", "registry"),
            ("a\nb:1", "small letters"),
            ("nginx@sha256:00", "digest"),
            (":1", "small letters"),
            ("", "tag"),
        ] {
            match (reference(text), says) {
                (Ok(()), "") => {}
                (Err(e), says) if !says.is_empty() && e.contains(says) => {}
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
    }
}
