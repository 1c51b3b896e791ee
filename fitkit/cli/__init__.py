"""The command `fitkit`. No module here imports JAX at its top, so that help is quick and the device is chosen before JAX starts.

    main       parses the command line, calls the command, turns errors into a line and an exit status
    options    the options of every command, typed and documented: `--help` is made from them (general_options; assets,
               labels and report hold their own)
    console    everything that is printed while a command runs
    fit, unwrap, evaluate, bench, doctor, assets, labels, report    the commands: each checks its options and calls the library

To add a command: a dataclass in `options.COMMANDS`, a function here, a branch in `main._dispatch`.
"""
