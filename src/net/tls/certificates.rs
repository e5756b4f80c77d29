//! All pairs of `[tls]` in force, and the authorities of clients. Pure: who reads the files is an argument, so that it may
//! be another thread.

use super::files;
use super::pair::Pair;
use super::renewal::{Deed, Look, Renewal};
use super::server::Authorities;
use crate::config::{Faults, Loaded, TlsSection};
use crate::model::{Mono, Wall};
use std::path::{Path, PathBuf};

/// What is wrong with the value of a key: the key, and words.
pub type Fault = (&'static str, String);

/// The files of one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What was in force before: it stays while its files are no better.
#[derive(Clone, Debug, Default)]
pub struct Before {
    pub pairs: Vec<(Files, Pair)>,
    /// The authorities of clients and their file, as a master before has left them.
    pub authorities: Option<(PathBuf, Authorities)>,
}

#[derive(Debug)]
struct Watched {
    files: Files,
    renewal: Renewal,
}

/// The pairs in force, in the order of the configuration. Empty: nobody listens for TLS.
#[derive(Debug, Default)]
pub struct Certificates {
    watched: Vec<Watched>,
    authorities: Option<(PathBuf, Authorities)>,
    /// Why the authorities are not those of the file.
    unread: Option<String>,
}

/// A change of one of the pairs in force.
#[derive(Debug)]
pub struct Change {
    pub files: Files,
    pub deed: Deed,
}

impl Certificates {
    /// What follows from a configuration, at the start and at each reload. A pair whose files are those of a pair in
    /// `before` stays in force and is looked at soon: only files that were never good are a fault. So it is with authorities
    /// that a master before has left. `read` reads a file.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn new(
        tls: &TlsSection,
        before: Before,
        read: impl Fn(&Path) -> Result<Vec<u8>, String>,
        now: Mono,
    ) -> Result<Self, Vec<Fault>> {
        let (mut watched, mut faults) = (vec![], vec![]);
        let keys = tls.cert.iter().map(|_| "tls.cert").chain(std::iter::repeat("tls.certificates"));
        for ((certificate, key), name) in tls.pairs().zip(keys) {
            let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
            let known = before.pairs.iter().find(|(other, _)| *other == files);
            let renewal = match known {
                Some((_, pair)) => Ok(Renewal::of(pair.clone(), now)),
                None => Renewal::start(&Look { certificate: read(certificate), key: read(key) }, now),
            };
            match renewal {
                Ok(renewal) => watched.push(Watched { files, renewal }),
                Err(why) => {
                    let (certificate, key) = (certificate.display(), key.display());
                    faults.push((name, format!("{certificate} and {key}: {why}")));
                }
            }
        }
        let (mut authorities, mut unread) = (None, None);
        if let Some(path) = &tls.client_ca {
            let now = read(path).and_then(|pem| Authorities::read(&pem));
            let left = before.authorities.filter(|(file, _)| file == path).map(|(_, left)| left);
            match (now, left) {
                (Ok(now), _) => authorities = Some((path.clone(), now)),
                (Err(why), Some(left)) => {
                    authorities = Some((path.clone(), left));
                    unread = Some(format!("{} {why}; those that were in force stay", path.display()));
                }
                (Err(why), None) => faults.push(("tls.client_ca", format!("{} {why}", path.display()))),
            }
        }
        if faults.is_empty() { Ok(Self { watched, authorities, unread }) } else { Err(faults) }
    }

    /// [`Certificates::new`] of a whole configuration, with files as they are now. They may be on a file system that hangs.
    ///
    /// # Errors
    /// All that is wrong, where it stands.
    pub fn of(loaded: &Loaded, before: Before, now: Mono) -> Result<Self, Faults> {
        Self::new(&loaded.config.tls, before, files::read, now).map_err(|faults| {
            let faults = faults.into_iter().flat_map(|(key, text)| loaded.fault(key, text).0);
            Faults(faults.collect())
        })
    }

    /// What an operator should know, although it is allowed: the key of the configuration, and words.
    #[must_use]
    pub fn warnings(&self, wall: Wall) -> Vec<Fault> {
        let mut warnings: Vec<Fault> = self.unread.iter().map(|why| ("tls.client_ca", why.clone())).collect();
        for (nth, (Files { certificate, key }, pair)) in self.pairs().enumerate() {
            let names =
                if nth == 0 { ("tls.cert", "tls.key") } else { ("tls.certificates", "tls.certificates") };
            if let Some(trouble) = pair.trouble(wall) {
                warnings.push((names.0, format!("{}: {trouble}", certificate.display())));
            }
            if files::is_open_to_all(key) {
                let text = format!("{}: everybody may read this key; chmod 640 it", key.display());
                warnings.push((names.1, text));
            }
        }
        warnings
    }

    /// The pairs in force, the first for clients that ask for no name that one of them has.
    pub fn pairs(&self) -> impl Iterator<Item = (&Files, &Pair)> {
        self.watched.iter().map(|watched| (&watched.files, watched.renewal.pair()))
    }

    /// Who signs the certificates of admins, and the file that says so.
    #[must_use]
    pub fn authorities(&self) -> Option<&(PathBuf, Authorities)> {
        self.authorities.as_ref()
    }

    /// Goes on with pairs of these files that came into force after this was read.
    pub fn follow(&mut self, present: Self) {
        for renewed in present.watched {
            let same = self.watched.iter_mut().find(|watched| watched.files == renewed.files);
            same.into_iter().for_each(|watched| watched.renewal = renewed.renewal.clone());
        }
    }

    /// When files are to be read; `None`: there are none.
    #[must_use]
    pub fn look_at(&self) -> Option<Mono> {
        self.watched.iter().map(|watched| watched.renewal.look_at()).min()
    }

    /// The files that are to be read now.
    #[must_use]
    pub fn due(&self, now: Mono) -> Vec<Files> {
        let due = self.watched.iter().filter(|watched| watched.renewal.look_at() <= now);
        due.map(|watched| watched.files.clone()).collect()
    }

    /// A reload was asked for: everything is to be read now.
    pub fn hint(&mut self, now: Mono) {
        self.watched.iter_mut().for_each(|watched| watched.renewal.hint(now));
    }

    /// What some files are. Files that are of no pair any more change nothing.
    pub fn looked(&mut self, looks: &[(Files, Look)], now: Mono, wall: Wall) -> Vec<Change> {
        let mut changes = vec![];
        for watched in &mut self.watched {
            let Some((files, look)) = looks.iter().find(|(files, _)| *files == watched.files) else {
                continue;
            };
            let deeds = watched.renewal.looked(look, now, wall);
            changes.extend(deeds.into_iter().map(|deed| Change { files: files.clone(), deed }));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::tests::{CA, FIRST, RENEWED, WILD};
    use super::*;
    use crate::config::{CertificateSection, TlsVersion};
    use std::collections::HashMap;
    use std::time::Duration;

    fn section(cert: Option<(&str, &str)>, others: &[(&str, &str)], client_ca: Option<&str>) -> TlsSection {
        let pair = |(cert, key): &(&str, &str)| CertificateSection { cert: cert.into(), key: key.into() };
        TlsSection {
            cert: cert.map(|(cert, _)| cert.into()),
            key: cert.map(|(_, key)| key.into()),
            certificates: others.iter().map(pair).collect(),
            client_ca: client_ca.map(Into::into),
            min_version: TlsVersion::V1_2,
            handshakes_at_once: 4,
        }
    }

    /// A folder in memory.
    #[derive(Default)]
    struct Folder(HashMap<PathBuf, Vec<u8>>);

    impl Folder {
        fn put(&mut self, name: &str, (certificate, key): (&[u8], &[u8])) {
            self.0.insert(format!("{name}.crt").into(), certificate.to_vec());
            self.0.insert(format!("{name}.key").into(), key.to_vec());
        }

        fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
            self.0.get(path).cloned().ok_or_else(|| "is missing".to_owned())
        }

        fn look(&self, certificates: &mut Certificates, now: Mono) -> Vec<Change> {
            let due = certificates.due(now).into_iter();
            let looks: Vec<_> = due
                .map(|files| {
                    let look =
                        Look { certificate: self.read(&files.certificate), key: self.read(&files.key) };
                    (files, look)
                })
                .collect();
            let valid = super::super::pair::tests::pair(WILD).validity().from;
            certificates.looked(&looks, now, Wall(valid.0 + 86_400_000))
        }
    }

    fn names(certificates: &Certificates) -> Vec<&str> {
        certificates.pairs().map(|(_, pair)| pair.name()).collect()
    }

    fn force(certificates: &Certificates) -> Before {
        let pairs = certificates.pairs().map(|(files, pair)| (files.clone(), pair.clone())).collect();
        Before { pairs, authorities: certificates.authorities().cloned() }
    }

    #[test]
    fn authorities_of_clients_outlive_their_file_under_the_next_master() {
        let mut folder = Folder::default();
        folder.put("a", FIRST);
        folder.0.insert("ca.crt".into(), CA.to_vec());
        let tls = section(Some(("a.crt", "a.key")), &[], Some("ca.crt"));
        let first = Certificates::new(&tls, Before::default(), |path| folder.read(path), Mono(0)).unwrap();
        folder.0.remove(Path::new("ca.crt"));
        let faults =
            Certificates::new(&tls, Before::default(), |path| folder.read(path), Mono(0)).unwrap_err();
        assert_eq!(faults, [("tls.client_ca", "ca.crt is missing".to_owned())]);
        let next = Certificates::new(&tls, force(&first), |path| folder.read(path), Mono(0)).unwrap();
        assert_eq!(next.authorities().map(|(_, all)| all.text()), Some(CA));
        let wall = first.pairs().next().unwrap().1.validity().until;
        let said: Vec<_> =
            next.warnings(wall).into_iter().filter(|(key, _)| *key == "tls.client_ca").collect();
        let words = "ca.crt is missing; those that were in force stay".to_owned();
        assert_eq!(
            (said, first.warnings(wall).len()),
            (vec![("tls.client_ca", words)], next.warnings(wall).len() - 1)
        );
        // Another file is another thing.
        let other = section(Some(("a.crt", "a.key")), &[], Some("b.crt"));
        assert!(Certificates::new(&other, force(&first), |path| folder.read(path), Mono(0)).is_err());
    }

    #[test]
    fn a_certificate_that_changes_during_a_trial_is_not_undone_by_its_end() {
        let mut folder = Folder::default();
        folder.put("a", FIRST);
        folder.put("b", WILD);
        let one = section(Some(("a.crt", "a.key")), &[], None);
        let both = section(Some(("a.crt", "a.key")), &[("b.crt", "b.key")], None);
        let now = Mono(1 << 40);
        let mut present = Certificates::new(&one, Before::default(), |path| folder.read(path), now).unwrap();
        let mut tried = Certificates::new(&both, force(&present), |path| folder.read(path), now).unwrap();
        folder.put("a", RENEWED);
        let mut now = now;
        while folder.look(&mut present, now).is_empty() {
            now = present.look_at().unwrap();
        }
        let renewed = present.pairs().next().unwrap().1.mark();
        tried.follow(present);
        assert_eq!((tried.pairs().next().unwrap().1.mark(), tried.pairs().count()), (renewed, 2));
    }

    #[test]
    fn each_pair_changes_alone() {
        let mut folder = Folder::default();
        folder.put("a", FIRST);
        folder.put("b", WILD);
        let tls = section(Some(("a.crt", "a.key")), &[("b.crt", "b.key")], None);
        let now = Mono(1 << 40);
        let mut certificates =
            Certificates::new(&tls, Before::default(), |path| folder.read(path), now).unwrap();
        assert_eq!(names(&certificates), ["one.example.com", "*.example.com"]);
        assert_eq!((certificates.look_at(), folder.look(&mut certificates, now).len()), (Some(now), 0));
        folder.put("a", RENEWED);
        folder.0.remove(Path::new("b.key"));
        let mut said = vec![];
        let mut now = now;
        for _ in 0..40 {
            now = certificates.look_at().unwrap();
            said.extend(folder.look(&mut certificates, now).into_iter().map(|change| {
                let word = match change.deed {
                    Deed::Take(_) => "take",
                    Deed::Refuse(_) => "refuse",
                    _ => "other",
                };
                (change.files.certificate.display().to_string(), word)
            }));
        }
        assert_eq!(said, [("a.crt".to_owned(), "take"), ("b.crt".to_owned(), "refuse")]);
        assert!(certificates.due(now).is_empty());
        certificates.hint(now);
        assert_eq!(certificates.due(now).len(), 2);
        // A reload keeps both, although files of one are torn.
        let before = force(&certificates);
        let kept = Certificates::new(&tls, before.clone(), |path| folder.read(path), now).unwrap();
        assert_eq!(names(&kept), ["one.example.com", "*.example.com"]);
        let gone =
            Certificates::new(&section(None, &[], None), before, |path| folder.read(path), now).unwrap();
        assert_eq!((gone.look_at(), names(&gone).len()), (None, 0));
        let after = now.after(Duration::from_secs(60));
        assert_eq!(folder.look(&mut certificates, after).len(), 0);
    }

    #[test]
    fn a_configuration_is_judged_with_its_files() {
        use crate::config::{Source, Surroundings, load};
        use std::fs::{Permissions, set_permissions, write};
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |(certificate, key): (&[u8], &[u8])| {
            write(at("a.crt"), certificate).unwrap();
            write(at("a.key"), key).unwrap();
        };
        put(FIRST);
        write(at("x.toml"), "[tls]\ncert = \"a.crt\"\nkey = \"a.key\"\n").unwrap();
        let source = Source::find(Some(&at("x.toml")), Some("test"), &Surroundings::default()).unwrap();
        let loaded = load(&source).unwrap();
        let certificates = Certificates::of(&loaded, Before::default(), Mono(0)).unwrap();
        set_permissions(at("a.key"), Permissions::from_mode(0o600)).unwrap();
        let until = certificates.pairs().next().unwrap().1.validity().until;
        assert_eq!(certificates.warnings(until), []);
        set_permissions(at("a.key"), Permissions::from_mode(0o644)).unwrap();
        let keys: Vec<_> = certificates.warnings(Wall(until.0 + 1)).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["tls.cert", "tls.key"]);
        put((FIRST.0, RENEWED.1));
        let fault =
            Certificates::of(&loaded, Before::default(), Mono(0)).unwrap_err().0.remove(0).to_string();
        assert!(fault.contains("x.toml:2: tls.cert: ") && fault.ends_with("do not fit"), "{fault}");
    }

    #[test]
    fn all_faults_of_a_start_are_told_each_with_its_key() {
        let mut folder = Folder::default();
        folder.put("a", (FIRST.0, RENEWED.1));
        folder.put("ca", (CA, b""));
        let read = |path: &Path| folder.read(path);
        let tls = section(Some(("a.crt", "a.key")), &[("b.crt", "b.key")], Some("a.key"));
        let faults = Certificates::new(&tls, Before::default(), read, Mono(0)).unwrap_err();
        let expected = [
            ("tls.cert", "a.crt and a.key: certificate and key do not fit"),
            ("tls.certificates", "b.crt and b.key: the certificate's file is missing"),
            ("tls.client_ca", "a.key holds no certificate (PEM, \"-----BEGIN CERTIFICATE-----\")"),
        ];
        assert_eq!(faults, expected.map(|(key, text)| (key, text.to_owned())));
        let only_clients = section(None, &[], Some("ca.crt"));
        assert!(
            Certificates::new(&only_clients, Before::default(), read, Mono(0))
                .unwrap()
                .authorities()
                .is_some()
        );
    }
}
