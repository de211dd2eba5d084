"""An app that declares handlers in every way in which they are lost, and in the odd ways in which they are found."""
