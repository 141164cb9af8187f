//! The steps of a connection as findings.

use provider_client::{CertificateFault, Probe, ProbeFault};

use super::report::{Check, Finding};

/// One finding for each step until the first that fails.
pub fn of_probe(probe: &Probe) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(addresses) = probe.addresses {
        let detail = if addresses == 1 { "1 address".to_owned() } else { format!("{addresses} addresses") };
        findings.push(Finding::ok(Check::Dns, detail));
    }
    let Some(fault) = probe.fault else {
        findings.push(Finding::ok(Check::Connection, "connects"));
        if probe.is_tls {
            findings.push(Finding::ok(Check::Tls, "the certificate is valid"));
        }
        return findings;
    };
    if matches!(fault, ProbeFault::Certificate(_) | ProbeFault::Handshake) {
        findings.push(Finding::ok(Check::Connection, "connects"));
    }
    let (check, detail, advice) = of_fault(fault);
    findings.push(Finding::problem(check, detail, advice));
    findings
}

const fn of_fault(fault: ProbeFault) -> (Check, &'static str, &'static str) {
    match fault {
        ProbeFault::NoAddress => (Check::Address, "it has no address that can be called", "set base_url"),
        ProbeFault::Resolve => (
            Check::Dns,
            "the name does not resolve",
            "check the host in base_url, and the name servers of this machine",
        ),
        ProbeFault::Private => (
            Check::Address,
            "the address is a private one, which is not called",
            "if the server is yours, set allow_private_network; otherwise correct base_url",
        ),
        ProbeFault::NeverAllowed => (
            Check::Address,
            "the address is a link-local or metadata address, which is never called",
            "correct base_url",
        ),
        ProbeFault::Connect => (
            Check::Connection,
            "the connection was refused, or there is no route",
            "check the port in base_url, that the server runs, and the firewall of this machine",
        ),
        ProbeFault::ConnectTimeout => (
            Check::Connection,
            "no connection in time",
            "check the port in base_url and the firewall of this machine, which drops packets silently",
        ),
        ProbeFault::Handshake => (
            Check::Tls,
            "TLS could not be negotiated",
            "check that this port speaks TLS; a server without it has a base_url that begins with http://",
        ),
        ProbeFault::Certificate(fault) => of_certificate(fault),
    }
}

const fn of_certificate(fault: CertificateFault) -> (Check, &'static str, &'static str) {
    let (detail, advice) = match fault {
        CertificateFault::Expired => {
            ("the certificate has expired", "renew it; if it has not expired, correct this machine's clock")
        }
        CertificateFault::NotYetValid => ("the certificate is not valid yet", "correct this machine's clock"),
        CertificateFault::UnknownIssuer => (
            "the certificate is from an issuer that this machine does not trust",
            "add the issuer to the certificates of this machine, or name its file in SSL_CERT_FILE; a proxy that reads TLS has \
             an issuer of its own",
        ),
        CertificateFault::OtherName => {
            ("the certificate is for another name", "use the name in the certificate in base_url")
        }
        CertificateFault::Revoked => ("the certificate was revoked", "replace it"),
        CertificateFault::Other => ("the certificate is not valid", "look at it: openssl s_client -connect HOST:PORT"),
    };
    (Check::Tls, detail, advice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::iter::successors;

    use super::*;

    /// Every fault. The matches are complete, so a new fault does not compile before it has its place here.
    fn every_fault() -> impl Iterator<Item = ProbeFault> {
        let next = |fault: &ProbeFault| match fault {
            ProbeFault::NoAddress => Some(ProbeFault::Resolve),
            ProbeFault::Resolve => Some(ProbeFault::Private),
            ProbeFault::Private => Some(ProbeFault::NeverAllowed),
            ProbeFault::NeverAllowed => Some(ProbeFault::Connect),
            ProbeFault::Connect => Some(ProbeFault::ConnectTimeout),
            ProbeFault::ConnectTimeout => Some(ProbeFault::Handshake),
            ProbeFault::Handshake => Some(ProbeFault::Certificate(CertificateFault::Expired)),
            ProbeFault::Certificate(fault) => after(*fault).map(ProbeFault::Certificate),
        };
        successors(Some(ProbeFault::NoAddress), next)
    }

    const fn after(fault: CertificateFault) -> Option<CertificateFault> {
        match fault {
            CertificateFault::Expired => Some(CertificateFault::NotYetValid),
            CertificateFault::NotYetValid => Some(CertificateFault::UnknownIssuer),
            CertificateFault::UnknownIssuer => Some(CertificateFault::OtherName),
            CertificateFault::OtherName => Some(CertificateFault::Revoked),
            CertificateFault::Revoked => Some(CertificateFault::Other),
            CertificateFault::Other => None,
        }
    }

    #[test]
    fn every_fault_of_a_connection_says_what_to_do() {
        let mut said = BTreeSet::new();
        for fault in every_fault() {
            let findings = of_probe(&Probe { addresses: Some(2), is_tls: true, fault: Some(fault) });
            let last = findings.last().expect("a finding");
            let (check, detail, advice) = of_fault(fault);
            assert_eq!(last, &Finding::problem(check, detail, advice), "{fault:?}");
            assert!(!detail.is_empty() && !advice.is_empty(), "{fault:?}");
            assert!(said.insert((detail, advice)), "{fault:?} says what another one says");
        }
        assert_eq!(said.len(), 13);
        for (fault, check) in [
            (ProbeFault::Resolve, Check::Dns),
            (ProbeFault::Private, Check::Address),
            (ProbeFault::NeverAllowed, Check::Address),
            (ProbeFault::Connect, Check::Connection),
            (ProbeFault::Certificate(CertificateFault::Expired), Check::Tls),
            (ProbeFault::Handshake, Check::Tls),
        ] {
            assert_eq!(of_fault(fault).0, check, "{fault:?}");
        }
        let well = of_probe(&Probe { addresses: Some(1), is_tls: true, fault: None });
        assert!(well.len() == 3 && !well.iter().any(Finding::is_problem));
    }
}
