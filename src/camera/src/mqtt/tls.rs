//! TLS to a broker: rustls with ring, so that boards need nothing but what the daemon is linked of.

use std::path::Path;
use std::sync::Arc;

use rumqttc::tokio_rustls::rustls::crypto::ring;
use rumqttc::tokio_rustls::rustls::pki_types::CertificateDer;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts the certificates of `ca_file` (PEM) alone, or those that the system trusts.
///
/// # Errors
/// The file cannot be read or has no certificate; the system has none.
pub(super) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate =
                    certificate.map_err(|error| format!("ca_file {}: not PEM: {error}", path.display()))?;
                roots.add(certificate).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
            }
            if roots.is_empty() {
                return Err(format!(
                    "ca_file {}: there is no certificate (BEGIN CERTIFICATE) in it",
                    path.display()
                ));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this system has no certificates to trust: install its package ca-certificates, or set \
                            ca_file to the broker's"
                        .to_owned(),
                );
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
