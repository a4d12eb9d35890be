"""What every part stands on: settings, files, names, addresses, the operating system. Imports no other part."""
