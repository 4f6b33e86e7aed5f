"""The bundled grounders, one file each; a config asks for them by the name of the class."""
