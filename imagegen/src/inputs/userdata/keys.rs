//! Owns what an SSH public key is, so that a placeholder or half a line is noticed before it is the only way in.

/// Types of keys that sshd of Debian takes (ssh-keygen(1), `-t`; sshd_config(5), `PubkeyAcceptedAlgorithms`).
const TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
];

/// Refuses what is no public key in the form of `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
pub fn public_key(line: &str) -> Result<(), String> {
    let line = line.trim();
    if line.contains("PRIVATE KEY") {
        return Err(
            "this is a private key: the public one is in the file that ends in .pub".to_owned(),
        );
    }
    if line.contains('\n') {
        return Err("this is more than one line; a key is one".to_owned());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(at) = words.iter().position(|w| TYPES.contains(w)) else {
        let first = words.first().copied().unwrap_or_default();
        return Err(match first {
            "ssh-dss" => "DSA keys are no longer taken by sshd; make a new one with `ssh-keygen -t ed25519`".to_owned(),
            _ => "this is no public key: it begins with ssh-ed25519, ssh-rsa or ecdsa-sha2-… (`cat ~/.ssh/id_ed25519.pub`)".to_owned(),
        });
    };
    let kind = words[at];
    let blob = words.get(at + 1).copied().unwrap_or_default();
    let broken = || {
        format!(
            "the key behind `{kind}` is not whole (`{}`): copy the line of the .pub file again",
            short(blob)
        )
    };
    // RFC 4253, 6.6: the blob begins with the length and the name of its type.
    let bytes = base64(blob).ok_or_else(broken)?;
    let len = bytes.get(..4).ok_or_else(broken)?;
    let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
    let inner = bytes.get(4..4 + len).ok_or_else(broken)?;
    if inner != kind.as_bytes() {
        return Err(broken());
    }
    // Every field of it is a length and so many bytes; the last one ends with the blob.
    let mut rest = &bytes[4 + len..];
    let mut fields = 0;
    while !rest.is_empty() {
        let head = rest.get(..4).ok_or_else(broken)?;
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // A certificate has two numbers of eight bytes among its fields: its length is all that is checked.
        if kind.contains("cert") {
            return Ok(());
        }
        rest = rest.get(4 + len..).ok_or_else(broken)?;
        fields += 1;
    }
    if fields == 0 {
        return Err(broken());
    }
    Ok(())
}

fn short(text: &str) -> String {
    let mut out: String = text.chars().take(16).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// RFC 4648, 4: with padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        Some(match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let plain = text.trim_end_matches('=');
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - plain.len() > 2 {
        return None;
    }
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for b in plain.bytes() {
        bits = (bits << 6) | u32::from(digit(b)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(((bits >> held) & 0xff) as u8);
        }
    }
    Some(out)
}
