"""The basis of every part: settings, files, names, addresses, the operating system. Imports no other part."""
