"""Names that theano 1.0.5's setup.py uses and Python 3.12 no longer has, for the time of its build."""

import configparser

configparser.SafeConfigParser = configparser.ConfigParser
configparser.ConfigParser.readfp = configparser.ConfigParser.read_file
