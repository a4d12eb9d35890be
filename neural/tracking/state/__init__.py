"""The state folder of one ``base_dir`` on this host: its paths and its content."""
