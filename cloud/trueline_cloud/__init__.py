"""The service in the cloud."""
