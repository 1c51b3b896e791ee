"""Heads that users bring: registered to the embedded head once, dressed with what it knows of faces, and kept as safetensors.

`importer` does it, behind `fitkit assets import head FILE`; `stored` reads what it kept. In between: `registration` finds which
place of one head is which of the other, `dressing` carries points, masks and colours over, `arkit` finds ARKit's expressions.
"""
