// kind: getifaddrs, if_nameindex and the ioctls of interfaces: the loopback
#include "odd.h"
#include <ifaddrs.h>
#include <net/if.h>

static void odd(void) {
    struct ifaddrs *list = NULL;
    int v4 = 0, fd = socket(AF_INET, SOCK_DGRAM, 0), found = 0;
    SHOW(getifaddrs(&list));
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
        if (strcmp(at->ifa_name, "lo") || !at->ifa_addr || at->ifa_addr->sa_family != AF_INET)
            continue;
        struct sockaddr_in *address = (struct sockaddr_in *)at->ifa_addr;
        v4 += address->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        say("up %d, loopback %d\n", (at->ifa_flags & IFF_UP) != 0,
            (at->ifa_flags & IFF_LOOPBACK) != 0);
    }
    freeifaddrs(list);
    SHOW(v4);
    SHOW(if_nametoindex("lo"));
    char name[IF_NAMESIZE] = "";
    SHOW(if_indextoname(1, name) != NULL);
    say("%s\n", name);
    SHOW(if_nametoindex("odd-none"));
    struct if_nameindex *names = if_nameindex();
    for (int i = 0; names && names[i].if_index; i++) found += !strcmp(names[i].if_name, "lo");
    if_freenameindex(names);
    SHOW(found);
    struct ifreq request = {.ifr_name = "lo"}, all[16];
    SHOW(ioctl(fd, SIOCGIFFLAGS, &request));
    SHOW((request.ifr_flags & (IFF_UP | IFF_LOOPBACK)) == (IFF_UP | IFF_LOOPBACK));
    SHOW(ioctl(fd, SIOCGIFADDR, &request));
    say("%s\n", inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
    SHOW(ioctl(fd, SIOCGIFMTU, &request));
    struct ifconf list_of = {.ifc_len = sizeof all, .ifc_req = all};
    SHOW(ioctl(listener, SIOCGIFCONF, &list_of));
    found = 0;
    for (size_t i = 0; i < list_of.ifc_len / sizeof all[0]; i++)
        found += !strcmp(all[i].ifr_name, "lo");
    SHOW(found);
    close(fd);
}
