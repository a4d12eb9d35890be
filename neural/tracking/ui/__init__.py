"""The comparison page: where people see which run was better.

``server`` starts it, ``app`` puts it together, ``guard`` decides who may ask, ``address`` is what the URL
holds. ``views`` has one file a tab, ``charts`` what they draw; ``data`` reads the runs and needs no Dash.
It reads run folders and nothing else: an open page costs collector and training nothing.
"""
