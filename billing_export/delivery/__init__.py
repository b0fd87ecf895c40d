"""Door: exports on their way out: a folder, an SFTP server, object storage."""
