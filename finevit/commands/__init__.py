"""What people call: ``finevit NAME`` runs ``main`` of the module of that name here. A new command is one new file."""
