# `/`, and `/slow`, which takes a while
use strict;
use warnings;
use Time::HiRes ();

sub {
    my $env = shift;
    Time::HiRes::sleep(0.3) if $env->{PATH_INFO} eq '/slow';
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 6], ["hello\n"]];
};
