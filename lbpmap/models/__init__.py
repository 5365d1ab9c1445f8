"""Files of models that others published: listed, fetched, imported, and held against checksums.

`caffe_models/registry.toml` names every set of files that is known, with sources and checksums;
`known` reads it. `places` says where such files lie, `records` keeps what their checksums were at
first sight, `checks` tells a complete file from a broken one. `fetch` brings files from where they
were published (`download` speaks HTTP, `drive` knows Google Drive's ways), `importing` takes them
from a folder or a ZIP archive (`archive` trusts none), and both hand them to `placing`, the only
one that writes among a user's models. `verify` compares what is there with what is known,
`listing` says what there is.

Nothing is fetched unless somebody asks for it, and nothing is ever written into the installed
package. What a net is for, and how it is run, is not known here.

Environment
-----------
LBPMAP_MODELS
    Folder of models: looked in before the user's data folder, and written to in its place.
LBPMAP_CACHE
    Folder of downloads that are not complete yet, in place of the user's cache folder.
LBPMAP_MIRROR
    URL that has every file at URL/NAME/FILE: fetched from in place of the authors' places.
LBPMAP_OFFLINE
    Anything but nothing or 0: no fetch goes to the network.
LBPMAP_REGISTRY
    A registry.toml in place of the package's own.
"""
