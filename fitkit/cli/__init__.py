"""The command `fitkit`. No module here imports JAX at its top, so that help is quick and the device is chosen before JAX starts.

    main       parses the command line, calls the command, turns errors into a line and an exit status
    options    the options of every command, typed and documented: `--help` is made from them (general_options; some commands
               hold their own)
    console    everything that is printed while a command runs
    commands   a module a command: it checks its options and calls the library

To add a command: a module in `commands` with a dataclass of options and a function; a line in `options.COMMANDS` and `RUN_BY`.
"""
